//! Whom commits are by where a repository has nothing to say about it.

use std::collections::BTreeMap;

use banger_guest_protocol::messages::{GuestErrorKind, Pack};
use banger_host::command::CommandError;
use banger_host::git::{Git, records};

use super::skeleton::lines;
use crate::guest::{Guest, GuestError};

/// Where git looks for what the user has configured.
const GUEST_FILES: [&str; 2] = ["/root/.gitconfig", "/root/.config/git/config"];

const REMARK: &str =
    "# Written by banger, from the host's git configuration, when there was no file here. It is yours now.\n";

/// The name and address that the user commits with outside of any repository: keys and values, as far as
/// there are any.
///
/// # Errors
///
/// When git is missing, or cannot read its configuration.
pub async fn identity() -> Result<Vec<(String, String)>, CommandError> {
    // One process for both.
    let command = Git::new("/").command(["config", "-z", "--get-regexp", r"^user\.(name|email)$"]);
    Ok(parse(&command.ok_codes(&[0, 1]).run().await?.stdout))
}

fn parse(listed: &[u8]) -> Vec<(String, String)> {
    let mut identity = BTreeMap::new();
    for record in records(listed) {
        let text = String::from_utf8_lossy(record);
        if let Some((key, value)) = text.split_once('\n') {
            // The last one counts.
            identity.insert(key.to_owned(), value.to_owned());
        }
    }
    identity.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// Tells the guest's git who commits, unless somebody has configured it already.
///
/// # Errors
///
/// When the guest does not answer, or cannot write it.
pub async fn introduce(guest: &Guest, identity: &[(String, String)]) -> Result<(), GuestError> {
    if identity.is_empty() {
        return Ok(());
    }
    let (own, other) = tokio::join!(is_there(guest, GUEST_FILES[0]), is_there(guest, GUEST_FILES[1]));
    if own? || other? {
        return Ok(());
    }
    let content = format!("{REMARK}{}", lines(identity)).into_bytes();
    guest.put_files("/root".into(), &[(b".gitconfig".to_vec(), Some(content))]).await
}

/// Asks by packing, and takes nothing of it: a symlink that leads nowhere is the user's, too, and stat would
/// not see it.
async fn is_there(guest: &Guest, path: &str) -> Result<bool, GuestError> {
    match guest.pack(&Pack { path: path.into(), follow: false }).await {
        Ok(_) | Err(GuestError::Refused { kind: GuestErrorKind::Refused, .. }) => Ok(true),
        Err(GuestError::Refused { kind: GuestErrorKind::NotFound, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_counts() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(parse(b""), []);
        assert_eq!(
            parse(b"user.name\nA\0user.email\na@b\0user.name\nJ\xc3\xb6rg \"x\"\nB\0"),
            [pair("user.email", "a@b"), pair("user.name", "J\u{f6}rg \"x\"\nB")]
        );
        // Set to nothing, or not set to anything.
        assert_eq!(parse(b"user.name\nA\0user.name\n\0user.email\0"), []);
    }
}
