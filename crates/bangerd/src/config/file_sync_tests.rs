use std::path::Path;

use super::tests::{complaint, parse};

/// A second entry of these lines; the first one is in order.
fn second(lines: &str) -> String {
    format!("[[file_sync]]\nhost = \"/a\"\nguest = \"~/a\"\n\n[[file_sync]]\n{lines}\n")
}

#[test]
fn every_refusal_names_the_entry_and_the_place() {
    let host = |host: &str| second(&format!("guest = \"~/x\"\nhost = {host}"));
    let guest = |guest: &str| second(&format!("host = \"/x\"\nguest = {guest}"));
    let mode = |mode: &str| second(&format!("host = \"/x\"\nguest = \"~/x\"\nmode = {mode}"));
    let absolute = "`host` of file_sync[1] must be an absolute path, or begin with `~/`, found";
    let under = "`guest` of file_sync[1] must lie under `~/` or `/root/`, found";
    let whole = "`guest` of file_sync[1] must be something in `~/`, not all of it, found";
    let upwards = "`guest` of file_sync[1] must be a path without `..`, found";
    let octal = "`mode` of file_sync[1] must be permission bits in octal, from \"0000\" to \"0777\", found";
    for (text, expected) in [
        (host("\"\""), format!("7:8: {absolute} \"\"")),
        (host("\"x/y\""), format!("7:8: {absolute} \"x/y\"")),
        (host("\"~\""), format!("7:8: {absolute} \"~\"")),
        (host("\"~joe/x\""), format!("7:8: {absolute} \"~joe/x\"")),
        (host("\"/x\\u0000\""), "7:8: `host` of file_sync[1] must be a path, found \"/x\\0\"".into()),
        (host("7"), "7:8: `host` of file_sync[1] must be a string, found an integer".into()),
        (guest("\"\""), format!("7:9: {under} \"\"")),
        (guest("\"x\""), format!("7:9: {under} \"x\"")),
        (guest("\"/etc/x\""), format!("7:9: {under} \"/etc/x\"")),
        (guest("\"/rootx\""), format!("7:9: {under} \"/rootx\"")),
        (guest("\"/\""), format!("7:9: {under} \"/\"")),
        (guest("\"~joe/x\""), format!("7:9: {under} \"~joe/x\"")),
        (guest("\"~\""), format!("7:9: {whole} \"~\"")),
        (guest("\"~/\""), format!("7:9: {whole} \"~/\"")),
        (guest("\"~/./\""), format!("7:9: {whole} \"~/./\"")),
        (guest("\"/root\""), format!("7:9: {whole} \"/root\"")),
        (guest("\"/root//\""), format!("7:9: {whole} \"/root//\"")),
        (guest("\"~/..\""), format!("7:9: {upwards} \"~/..\"")),
        (guest("\"/root/x/../../etc\""), format!("7:9: {upwards} \"/root/x/../../etc\"")),
        (guest("\"~/x\\u0000\""), format!("7:9: {upwards} \"~/x\\0\"")),
        (guest("true"), "7:9: `guest` of file_sync[1] must be a string, found a boolean".into()),
        (mode("\"\""), format!("8:8: {octal} \"\"")),
        (mode("\"0800\""), format!("8:8: {octal} \"0800\"")),
        (mode("\"+600\""), format!("8:8: {octal} \"+600\"")),
        (mode("\"0o600\""), format!("8:8: {octal} \"0o600\"")),
        (mode("\"4755\""), format!("8:8: {octal} \"4755\"")),
        (mode("\"rw\""), format!("8:8: {octal} \"rw\"")),
        (mode("0o600"), "8:8: `mode` of file_sync[1] must be a string, found an integer".into()),
        (second("hots = \"/x\""), "6:1: unknown key `hots` in file_sync[1]".into()),
        (second("host = \"/x\""), "5:1: file_sync[1] has no `guest`".into()),
        (second("guest = \"~/x\""), "5:1: file_sync[1] has no `host`".into()),
        ("file_sync = 7".into(), "1:13: `file_sync` must be a list of tables, found an integer".into()),
        ("[file_sync]".into(), "1:1: `file_sync` must be a list of tables, found a table".into()),
        ("file_sync = [7]".into(), "1:14: file_sync[0] must be a table, found an integer".into()),
    ] {
        assert_eq!(complaint(&text).0, format!("config.toml:{expected}"), "{text}");
    }
    assert_eq!(complaint(&second("hots = \"/x\"")).1.as_deref(), Some("did you mean `host`?"));
    assert_eq!(complaint(&mode("600")).1.as_deref(), Some("write it as a string: \"0600\""));
}

#[test]
fn the_users_home_is_filled_in() {
    let home = Path::new("/home/u");
    for (host, path) in
        [("~/x/y", "/home/u/x/y"), ("~//x", "/home/u/x"), ("/x/~/y", "/x/~/y"), ("~/", "/home/u/")]
    {
        let config = parse(&format!("file_sync = [{{ host = \"{host}\", guest = \"~/x\" }}]")).unwrap();
        assert_eq!(config.file_sync.value[0].host_path(home), Path::new(path), "{host}");
    }
}

#[test]
fn an_empty_list_is_none() {
    assert!(parse("file_sync = []").unwrap().file_sync.value.is_empty());
    assert!(parse("").unwrap().file_sync.value.is_empty());
}
