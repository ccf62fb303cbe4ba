use std::time::Instant;

use crate::error::BenchError;
use crate::home::Home;
use crate::numbers::{Numbers, heading};

const BYTES: usize = 100_000_000;

/// 100 MB into a command's stdin and out of its stdout.
pub(crate) fn measure(home: &Home, rounds: usize) -> Result<(), BenchError> {
    let vm = home.boot("bench-pipe")?;
    // The bytes' values do not matter for the speed; that they come back in order does.
    let sent: Vec<u8> = (0..BYTES).map(|n| (n ^ n >> 8 ^ n >> 16) as u8).collect();
    let mut numbers = Numbers::default();
    for _ in 0..rounds {
        let start = Instant::now();
        let back = home.banger_with_stdin(&["exec", "bench-pipe", "--", "cat"], &sent)?.stdout;
        numbers.add(start.elapsed());
        if back != sent {
            return Err(BenchError::Differs { sent: sent.len(), back: back.len() });
        }
    }
    drop(vm);
    println!("{}", heading("throughput"));
    println!("{}", numbers.line("100 MB through banger exec VM -- cat"));
    let mib_per_s = BYTES as f64 / f64::from(1 << 20) / numbers.median().as_secs_f64();
    println!("{mib_per_s:.0} MiB/s each way\n");
    Ok(())
}
