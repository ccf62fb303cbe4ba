//! Who we are to a registry: challenges, the user's credentials, and the tokens that are got for them.
//!
//! A credential leaves this room only as the header of a request to the registry that it is filed under, or
//! in a request to the token server that this registry names.

mod authenticator;
mod challenge;
mod credential;
mod docker_config;
mod keychain;
mod token;

pub(crate) use authenticator::Authenticator;
pub use keychain::{CredentialHelper, HelperFuture, HelperOutput, Keychain, KeychainError};
