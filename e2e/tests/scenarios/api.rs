//! The daemon's API as `curl --unix-socket` would use it.

use e2e::{Home, http};

#[test]
fn the_api_needs_no_client_of_ours() {
    let home = Home::new();
    home.banger("daemon start").ok();
    let socket = home.socket();
    let get = |path: &str| http(&socket, &format!("GET {path}"), &[], "");
    let status = get("/v1/daemon");
    assert!(status.status == 200 && status.body.contains("\"pid\""), "{status:?}");
    assert!(get("/v1/vms").body.contains("[]"));

    let body = r#"{"name": "by-hand"}"#;
    let created = http(&socket, "POST /v1/vms", &[("content-type", "application/json")], body);
    assert_eq!(created.status, 200, "{created:?}");
    for event in ["\"accepted\"", "\"planned\"", "\"succeeded\""] {
        assert!(created.body.contains(event), "{created:?}");
    }
    assert!(get("/v1/vms?all=true").body.contains("by-hand"));
    let started = http(&socket, "POST /v1/vms/by-hand/start", &[], "");
    assert!(started.body.contains("\"running\""), "{started:?}");
    assert!(get("/v1/vms/by-hand/health").body.contains("round_trip_us"));
    assert!(get("/v1/vms/by-hand/files/stat?path=/etc").body.contains("\"directory\""));
    let packed = get("/v1/vms/by-hand/files?path=/etc/hostname");
    assert!(packed.status == 200 && packed.body.contains("by-hand\n"), "{packed:?}");
    assert_eq!(get("/v1/vms/by-hand/files?path=/none").status, 404);
    let logs = get("/v1/vms/by-hand/logs");
    assert_eq!(logs.status, 200, "{logs:?}");
    let deleted = http(&socket, "DELETE /v1/vms/by-hand?force=true", &[], "");
    assert!(deleted.body.contains("\"succeeded\""), "{deleted:?}");

    // Whatever is wrong with a request, the answer is an error of ours.
    for (request, body, status) in [
        ("GET /v1/vms/nobody", "", 404),
        ("GET /v1/nothing", "", 404),
        ("DELETE /v1/vms", "", 400),
        ("POST /v1/vms", "{\"nmae\": \"x\"}", 400),
        ("POST /v1/vms", "no json", 400),
        ("POST /v1/vms", "{\"name\": \"UPPER\"}", 400),
        ("GET /v1/vms?all=perhaps", "", 400),
        ("GET /v1/operations/none/events", "", 404),
        ("DELETE /v1/operations/none", "", 404),
        ("GET /v1/vms/nobody/exec", "", 400),
        ("GET /v1/vms/nobody/files", "", 400),
        ("GET /v1/vms/nobody/files?path=/", "", 404),
        ("PUT /v1/vms/nobody/files?dir=/&create=perhaps", "", 400),
        ("GET /v1/vms/..%2f..%2fx", "", 404),
    ] {
        let refused = http(&socket, request, &[("content-type", "application/json")], body);
        let failed_later = refused.status == 200 && refused.body.contains("\"failed\"");
        assert!(refused.status == status || failed_later && status == 400, "{request}: {refused:?}");
        assert!(
            refused.body.contains("\"message\"") && refused.body.contains("\"code\""),
            "{request}: {refused:?}"
        );
    }
    home.assert_no_residue();
}

#[test]
fn the_socket_is_the_users_alone() {
    use std::os::unix::fs::MetadataExt as _;
    let home = Home::new();
    home.banger("daemon start").ok();
    let mode = |path: &std::path::Path| path.metadata().unwrap().mode() & 0o777;
    assert_eq!(mode(home.socket().parent().unwrap()), 0o700);
    assert_eq!(mode(&home.state()), 0o700);
}
