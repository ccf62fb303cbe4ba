use std::path::Path;
use std::time::{Duration, Instant};

use banger_api::daemon::DaemonStatus;
use e2e::{Access, LayerTar, OciLayout, Packing, Registry};

use crate::error::BenchError;
use crate::home::{Home, command};
use crate::noise::noise;
use crate::numbers::{Numbers, heading, verdict};

const LAYERS: usize = 4;
const DIRS_PER_LAYER: usize = 50;
const FILES_PER_DIR: usize = 100;
const FILE_BYTES: usize = 20_000;
const RATIO: f64 = 0.5;
const MEMORY_MIB: f64 = 100.0;
const IMAGE: &str = "bench-pull";

/// An image of 20,000 files and 400 MB from a registry on the loopback interface to an ext4 file: by `banger
/// image pull`, and by `skopeo copy`, `umoci unpack` and `mke2fs -d`. Both begin without a single layer.
pub(crate) fn measure(home: &Home, rounds: usize) -> Result<(), BenchError> {
    if !rustix::process::geteuid().is_root() {
        return Err(BenchError::NeedsRoot { what: "umoci unpack keeps owners only as root" });
    }
    let scratch = home.scratch()?;
    eprintln!("bench: making an image");
    let registry = Registry::start(scratch.path().join("registry"), Access::Everybody);
    let layout = OciLayout::new(scratch.path().join("layout"));
    fill(&layout);
    registry.push(&layout, "latest", "bench:latest");
    let reference = registry.reference("bench:latest");
    let (mut tools, mut banger) = (Numbers::default(), Numbers::default());
    for round in 1..=rounds {
        eprintln!("bench: round {round} of {rounds}");
        tools.add(by_tools(home, &reference)?);
        banger.add(by_banger(home, &reference)?);
    }
    let status: DaemonStatus = home.json(&["daemon", "status", "--json"])?;
    let peak = crate::memory::of_process(status.pid, "VmHWM:")?;
    println!("{}", heading("20,000 files, 400 MB, 4 layers of gzip"));
    println!("{}", tools.line("skopeo copy, umoci unpack, mke2fs -d"));
    println!("{}", banger.line("banger image pull"));
    let ratio = banger.median().as_secs_f64() / tools.median().as_secs_f64();
    println!("banger takes {ratio:.2} times as long; at most {RATIO}: {}", verdict(ratio <= RATIO));
    println!(
        "the daemon's peak memory: {peak:.1} MiB; at most {MEMORY_MIB}: {}\n",
        verdict(peak <= MEMORY_MIB)
    );
    Ok(())
}

/// As programs are: half text, half bytes that nothing compresses.
fn fill(layout: &OciLayout) {
    let mut random = noise();
    let mut layers = Vec::new();
    for layer in 0..LAYERS {
        let mut tar = LayerTar::new();
        for dir in 0..DIRS_PER_LAYER {
            let dir = format!("usr/layer-{layer}/directory-{dir}");
            tar = tar.dir(&format!("{dir}/"), 0o755);
            for file in 0..FILES_PER_DIR {
                let mask = if file % 2 == 0 { 0xFF } else { 0x0F };
                let content: Vec<u8> = (0..FILE_BYTES).map(|_| random() as u8 & mask).collect();
                tar = tar.file(&format!("{dir}/file-{file}"), 0o644, content);
            }
        }
        layers.push(layout.layer(&tar.finish(), Packing::Gzip));
    }
    let image = layout.image(&layers, serde_json::json!({}), "amd64");
    layout.tag("latest", &image);
}

fn by_banger(home: &Home, reference: &str) -> Result<Duration, BenchError> {
    let took = home.time(&["image", "pull", "--quiet", "--name", IMAGE, reference])?;
    home.banger(&["image", "delete", IMAGE])?;
    let blobs = home.cache().join("blobs");
    std::fs::remove_dir_all(&blobs).map_err(BenchError::file("remove", &blobs))?;
    Ok(took)
}

fn by_tools(home: &Home, reference: &str) -> Result<Duration, BenchError> {
    let scratch = home.scratch()?;
    let path = |name: &str| scratch.path().join(name).to_string_lossy().into_owned();
    let (layout, bundle, image) = (path("layout"), path("bundle"), path("image.ext4"));
    let start = Instant::now();
    run(&[
        "skopeo",
        "--insecure-policy",
        "copy",
        "--quiet",
        "--src-tls-verify=false",
        &format!("docker://{reference}"),
        &format!("oci:{layout}:latest"),
    ])?;
    run(&["umoci", "unpack", "--image", &format!("{layout}:latest"), &bundle])?;
    let size_kib = (8_u64 << 20).to_string();
    let options = ["-q", "-F", "-t", "ext4", "-m", "0", "-d"];
    let rootfs = format!("{bundle}/rootfs");
    run(&[&["mke2fs"][..], &options, &[&rootfs, &image, &size_kib]].concat())?;
    Ok(start.elapsed())
}

fn run(argv: &[&str]) -> Result<(), BenchError> {
    let line = argv.join(" ");
    let output = command(Path::new(argv[0])).args(&argv[1..]).output();
    let output = output.map_err(|source| BenchError::Spawn { line: line.clone(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(BenchError::Failed { line, status: output.status, stderr })
}
