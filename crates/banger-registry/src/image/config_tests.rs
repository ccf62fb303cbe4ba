use proptest::prelude::*;

use super::*;

const DIFF_ID: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn config(run: &str) -> String {
    format!(
        r#"{{"architecture":"amd64","os":"linux","config":{run},"rootfs":{{"type":"layers","diff_ids":["{DIFF_ID}"]}}}}"#
    )
}

fn run(text: &str) -> Result<ImageConfig, ImageError> {
    read(config(text).as_bytes(), 1).map(|checked| checked.config)
}

#[test]
fn a_configuration_is_read() {
    let text = r#"{"Env":["PATH=/bin","A=b=c","=x","nameless"],"WorkingDir":"/srv","User":"app:app",
        "Entrypoint":["/init","-v"],"Cmd":["run"],"Labels":{"k":"v"},
        "ExposedPorts":{"80/tcp":{},"53/UDP":{},"22":{},"8000-8002/tcp":{},"0/tcp":{},"x/tcp":{},"1/icmp":{},"9-8/tcp":{}}}"#;
    let read = run(text).unwrap();
    assert_eq!(read.env, ["PATH=/bin", "A=b=c"]);
    assert_eq!((read.working_dir.as_str(), read.user.as_str()), ("/srv", "app:app"));
    assert_eq!((read.entrypoint, read.cmd), (vec!["/init".into(), "-v".into()], vec!["run".to_owned()]));
    assert_eq!(read.labels["k"], "v");
    let ports: Vec<(u16, Protocol)> = read.exposed_ports.iter().map(|e| (e.port, e.protocol)).collect();
    let tcp = |port| (port, Protocol::Tcp);
    assert_eq!(ports, [tcp(22), (53, Protocol::Udp), tcp(80), tcp(8000), tcp(8001), tcp(8002)]);
}

#[test]
fn what_is_null_missing_or_a_single_word_is_understood() {
    let nothing = ImageConfig::default();
    assert_eq!(run("null").unwrap(), nothing);
    assert_eq!(run("{}").unwrap(), nothing);
    let nulls = r#"{"Env":null,"WorkingDir":null,"User":null,"Entrypoint":null,"Cmd":null,"ExposedPorts":null,"Labels":null}"#;
    assert_eq!(run(nulls).unwrap(), nothing);
    let word = run(r#"{"Entrypoint":"/init","Cmd":""}"#).unwrap();
    assert_eq!((word.entrypoint, word.cmd), (vec!["/init".to_owned()], Vec::new()));
}

#[test]
fn what_cannot_be_an_image_is_refused() {
    assert!(matches!(
        read(config("{}").as_bytes(), 2),
        Err(ImageError::LayerCount { layers: 2, diff_ids: 1 })
    ));
    assert!(matches!(run(r#"{"Env":["A=\u0000"]}"#), Err(ImageError::Nul("Env"))));
    assert!(matches!(run(r#"{"Cmd":["\u0000"]}"#), Err(ImageError::Nul("Cmd"))));
    assert!(matches!(run(r#"{"Env":"x"}"#), Err(ImageError::Json { .. })));
    let bad = config("{}").replace(DIFF_ID, "sha256:x");
    assert!(matches!(read(bad.as_bytes(), 1), Err(ImageError::Digest { .. })));
    assert!(matches!(read(b"{}", 1), Err(ImageError::LayerCount { layers: 1, diff_ids: 0 })));
    assert!(matches!(read(b"", 0), Err(ImageError::Json { .. })));
}

#[test]
fn an_image_of_nothing_needs_to_say_nothing() {
    for text in ["{}", r#"{"rootfs":null}"#, r#"{"rootfs":{},"os":null,"architecture":null,"variant":null}"#]
    {
        let checked = read(text.as_bytes(), 0).unwrap();
        assert_eq!((checked.config, checked.foreign), (ImageConfig::default(), None), "{text}");
    }
}

#[test]
fn another_machines_configuration_is_told_apart() {
    let arm = config("{}").replace("amd64", "arm64");
    assert_eq!(read(arm.as_bytes(), 1).unwrap().foreign.as_deref(), Some("linux/arm64"));
    assert_eq!(read(config("{}").as_bytes(), 1).unwrap().foreign, None);
}

#[test]
fn a_few_bytes_do_not_become_millions_of_ports() {
    let ports: Vec<String> = (1..500).map(|n| format!("\"1-{}/tcp\":{{}}", 65535 - n)).collect();
    let read = run(&format!(r#"{{"ExposedPorts":{{{}}}}}"#, ports.join(","))).unwrap();
    assert!(read.exposed_ports.len() <= MAX_PORTS);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, run_config in "[\\[\\]{}\":,a-zA-Z0-9]{0,60}", port in "\\PC{0,12}") {
        let _ = read(&bytes, 1);
        let _ = run(&run_config);
        let _ = exposed(&port).count();
    }
}
