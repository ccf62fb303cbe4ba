//! Names and ids: what every other part of the daemon calls VMs and images by.

mod id;
mod image_ref;
mod loopback;
mod name;

pub(crate) use id::fill_random;
pub(crate) use image_ref::check_image_name;

pub use id::VmId;
pub use image_ref::{ImageNameError, ImageRef};
pub use loopback::loopback_address;
pub use name::{VmName, VmNameError};
