//! Every touch of Linux on the host: tools, processes, files, filesystems, kernels, KVM.
//!
//! Functions that work on files or burn CPU are blocking; those that run a tool are async (tokio). Nothing
//! here knows what a VM or an image *is*: the daemon decides, this crate does.
//!
//! | topic | modules |
//! |---|---|
//! | programs | [`command`] (foreground tools), [`process`] (what outlives the daemon), [`clean_start`] (of the daemon itself), [`sandbox`] (what a VMM may touch), [`unix_socket`] (how it is talked to), [`log_keeper`] (what it says) |
//! | the host | [`system`], [`tsc`], [`kvm`] |
//! | files | [`files`], [`bounded_log`], [`staging`], [`output_file`], [`sparse`], [`sparse_copy`], [`tar_writer`], [`walk`], [`worktree`] |
//! | kernels | [`kernel_image`], [`kernel_directory`], [`kernel_version`], [`modules`], [`initramfs`] |
//! | disks | [`debian`] (archive to tar), [`layer`] (OCI layer to tar), [`tar_source`] (tar to entries), [`ext4`] (entries to image), [`work_disk`], [`image_format`] (what a file of the user's is), [`archive_files`] (archives of container images) |

pub mod acl;
pub mod archive_files;
mod archive_marks;
pub mod bounded_log;
pub mod clean_start;
pub mod command;
pub mod debian;
mod decompress;
pub mod exchange;
pub mod ext4;
mod file_content;
mod file_tree;
pub mod files;
pub mod git;
pub mod image_format;
pub mod initramfs;
mod initrd;
pub mod kernel_directory;
mod kernel_facts;
pub mod kernel_image;
pub mod kernel_version;
pub mod kvm;
pub mod layer;
mod layer_merge;
pub mod log_keeper;
mod module_index;
mod module_signature;
pub mod modules;
mod movable;
pub mod output_file;
pub mod path_bytes;
pub mod process;
mod programs;
pub mod sandbox;
pub mod sparse;
pub mod sparse_copy;
mod sparse_file;
pub mod staging;
pub mod system;
pub mod tar_source;
pub mod tar_writer;
mod tool_output;
pub mod tsc;
pub mod unix_socket;
pub mod walk;
pub mod work_disk;
pub mod worktree;
mod xattr;
