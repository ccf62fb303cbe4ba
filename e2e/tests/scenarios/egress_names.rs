//! Two names at one address: a list with one of them opens this one only.

use e2e::{Home, LOOPBACK_PORT, Run, Running, World, skipped, tool};

use super::egress::{NO_ROOT, get, golden_home, is_root, python};

/// Two servers in one: it has a certificate of its own for each name.
fn tls_server<'home>(home: &'home Home, world: &World) -> Run<'home> {
    for name in ["allowed.test", "other.test"] {
        let (key, certificate) = (file(home, name, "key"), file(home, name, "pem"));
        let subject = format!("/CN={name}");
        let alternative = format!("subjectAltName=DNS:{name}");
        let request = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
        let mut argv: Vec<&str> = request.split(' ').collect();
        argv.extend(["-subj", &subject, "-addext", &alternative, "-keyout", &key, "-out", &certificate]);
        assert!(tool(&argv).is_some_and(|(made, _)| made), "openssl makes no certificate");
    }
    let pem = |name| file(home, name, "pem");
    let key = |name| file(home, name, "key");
    let server = home.program("/usr/bin/openssl").under(&["nsenter", &world.entry_of_world()]);
    let server = server.args("s_server -accept 443 -www -servername other.test".split(' '));
    let server = server.args(["-cert", &pem("allowed.test"), "-key", &key("allowed.test")]);
    server.args(["-cert2", &pem("other.test"), "-key2", &key("other.test")])
}

fn file(home: &Home, name: &str, kind: &str) -> String {
    home.root().join(format!("{name}.{kind}")).display().to_string()
}

#[test]
fn needs_root_of_two_names_at_one_address_a_list_opens_one() {
    if !is_root() {
        return skipped(NO_ROOT);
    }
    let (home, world) = golden_home();
    let mut server = tls_server(&home, &world).start();
    server.wait_for("ACCEPT");
    home.banger("vm create --start --name free").ok();
    home.banger(&format!("vm create --start --name bound --egress allowed.test,host:{LOOPBACK_PORT}")).ok();
    let certificates = ["allowed.test", "other.test"].map(|name| file(&home, name, "pem"));
    for vm in ["free", "bound"] {
        let trusted = certificates.each_ref().map(|path| std::fs::read_to_string(path).unwrap()).concat();
        home.banger("exec").args([vm]).sh("cat > /root/trusted.pem").stdin(trusted).ok();
    }
    let fetch = |vm: &str, options: &str| {
        home.sh(
            vm,
            &format!(
                "curl -sS --max-time 5 --cacert /root/trusted.pem {options} 2>&1 | grep -e Ciphers -e curl:"
            ),
        )
    };
    for name in ["allowed.test", "other.test"] {
        assert!(fetch("free", &format!("https://{name}")).contains("Ciphers"), "{name}");
        assert_eq!(get(&home, "free", &format!("http://{name}")), "you reached 44.0.0.3 80");
    }
    let said = fetch("bound", "https://allowed.test");
    assert!(said.contains("Ciphers"), "{said}");
    assert_eq!(get(&home, "bound", "http://allowed.test"), "you reached 44.0.0.3 80");
    let heard = heard(&server);
    let requests = world.servers().requests().len();
    tls_by_other_ways(&home, &fetch);
    http_by_other_ways(&home);
    let loopback = format!("http://host.vm:{LOOPBACK_PORT}");
    assert_eq!(get(&home, "bound", &loopback), format!("you reached 127.0.0.1 {LOOPBACK_PORT}"));
    assert!(get(&home, "bound", "http://host.vm").contains("curl: (7)"));
    let requests = world.servers().requests().split_off(requests);
    assert!(!requests.iter().any(|request| request.contains("other.test")), "{requests:#?}");
    assert_eq!(self::heard(&server), heard, "a hello for another name has reached the server");
    home.banger("vm delete --force free bound").ok();
    home.assert_no_residue();
}

/// How many hellos the TLS server has had.
fn heard(server: &Running) -> usize {
    server.out_len()
}

fn tls_by_other_ways(home: &Home, fetch: &dyn Fn(&str, &str) -> String) {
    let address = home.sh("bound", "getent hosts allowed.test | cut -d' ' -f1");
    for (what, options) in [
        ("another name", "https://other.test".to_owned()),
        (
            "another server name at the name's own address",
            format!("--resolve other.test:443:{address} https://other.test"),
        ),
        ("no server name", format!("-k https://{address}")),
        ("the real address", "--resolve allowed.test:443:44.0.0.3 https://allowed.test".into()),
        ("the real address, no server name", "-k https://44.0.0.3".into()),
        (
            "the real address, another server name",
            "--resolve other.test:443:44.0.0.3 https://other.test".into(),
        ),
        ("the host's port", "--resolve allowed.test:443:198.18.0.3 https://allowed.test".into()),
    ] {
        let said = fetch("bound", &options);
        assert!(said.starts_with("curl: "), "{what}: {said}");
    }
}

/// Says what it gets for each request on a connection, and what ends it.
const ON_ONE_CONNECTION: &str = r#"
import socket
def until_reached(lines):
    """What comes, until the line that says who was reached."""
    for line in lines:
        yield line
        if "you reached" in line:
            return
def requests(to, *heads):
    answers = []
    try:
        with socket.create_connection((to, 80), 5) as s:
            lines = s.makefile()
            for head in heads:
                s.sendall((head + "\r\n\r\n").encode())
                answers.append("yes" if any("you reached" in line for line in until_reached(lines)) else "no")
    except OSError:
        answers.append("no")
    print(" ".join(answers))
allowed, other = [f"GET / HTTP/1.1\r\nHost: {name}.test" for name in ("allowed", "other")]
requests("allowed.test", allowed, allowed)
requests("allowed.test", other)
requests("allowed.test", allowed, other)
requests("allowed.test", allowed + "\r\n\r\n" + other)
requests("allowed.test", "GET http://other.test/ HTTP/1.1\r\nHost: allowed.test")
requests("allowed.test", "GET / HTTP/1.1\r\nHost: allowed.test\r\nHost: other.test")
requests("allowed.test", "CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443")
requests("allowed.test", "GET / HTTP/1.0")
requests("44.0.0.3", allowed)
requests("other.test", other)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.settimeout(5)
    try:
        s.connect(("allowed.test", 7))
        s.send(b"x")
        print(s.recv(9))
    except OSError as error:
        print(error)
"#;

fn http_by_other_ways(home: &Home) {
    let answers = python(home, "bound", ON_ONE_CONNECTION);
    let expected = [
        "yes yes",
        "no",
        "yes no",
        "no",
        "no",
        "no",
        "no",
        "no",
        "no",
        "no",
        "[Errno 111] Connection refused",
    ];
    assert_eq!(answers.lines().collect::<Vec<_>>(), expected);
}
