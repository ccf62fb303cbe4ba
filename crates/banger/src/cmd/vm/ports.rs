use banger_api::ports::{Listener, Protocol, VmPorts};
use clap::Args;

use crate::cmd::{Outcome, block_on};
use crate::{daemon, ui};

/// Longest command that is shown in the table, in characters.
const COMMAND_SHOWN: usize = 80;

#[derive(Debug, Args)]
#[command(after_help = "\
ENDPOINT is where the host reaches a port that is forwarded, else the port by the VM's name. To reach them: banger vm \
forward REF PORT, or banger vm forward REF --auto for all. TCP ports are connected to once or twice, to find out whether \
they speak HTTPS, HTTP or SSH; that takes up to a second.")]
pub(crate) struct PortsArgs {
    /// Name, id, or unique beginning of an id
    #[arg(value_name = "REF")]
    vm: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &PortsArgs) -> Outcome {
    let ports = block_on(async { Ok(daemon::connect().await?.vm_ports(&args.vm).await?) })?;
    if args.json {
        ui::json(&ports)?;
        return Ok(0);
    }
    ui::print(table(&ports))?;
    if ports.truncated {
        ui::note("the guest listens on more ports than are shown");
    }
    let out_of_reach =
        |listener: &&Listener| listener.protocol == Protocol::Tcp && listener.forwarded.is_empty();
    if let Some(one) = ports.listeners.iter().find(out_of_reach) {
        let vm = ui::clean(&args.vm);
        ui::note("not all of these are forwarded to this host");
        ui::hint("one", format_args!("banger vm forward {vm} {}", one.port));
        ui::hint("all", format_args!("banger vm forward {vm} --auto"));
    }
    Ok(0)
}

fn table(ports: &VmPorts) -> ui::Table {
    let mut table = ui::Table::new(&["PROTO", "ENDPOINT", "PROCESS", "COMMAND"]);
    for listener in &ports.listeners {
        let proto = match listener.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        let scope = if listener.loopback_only { " (loopback)" } else { "" };
        // The guest chooses these, and may mean the terminal.
        let process = listener.process.as_deref().map_or("-".into(), ui::file_name);
        let process = listener.pid.map_or(process.clone(), |pid| format!("{process} ({pid})"));
        table.row([
            proto.to_owned(),
            format!("{}{scope}", ui::file_name(&listener.endpoint)),
            process,
            listener.command.as_deref().map_or("-".into(), shortened),
        ]);
    }
    table
}

fn shortened(command: &str) -> String {
    let start: String = command.chars().take(COMMAND_SHOWN).collect();
    let more = if start.len() < command.len() { "..." } else { "" };
    format!("{}{more}", ui::file_name(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_listed_and_cannot_command_a_terminal() {
        let ports: VmPorts = serde_json::from_str(
            r#"{"truncated":false,"listeners":[
            {"protocol":"tcp","port":22,"addresses":["0.0.0.0","::"],"loopback_only":false,"service":"ssh","pid":412,
             "process":"sshd","command":"sshd: /usr/sbin/sshd -D","endpoint":"brave-otter.vm:22","forwarded":[]},
            {"protocol":"tcp","port":8000,"addresses":["127.0.0.1"],"loopback_only":true,"service":"http","pid":9,
             "process":"\u001b[2J\u202eevil","command":"a\nb","endpoint":"http://127.93.1.2:8000","forwarded":["127.93.1.2:8000"]},
            {"protocol":"udp","port":5353,"addresses":["::"],"loopback_only":false,"service":null,"pid":null,
             "process":null,"command":null,"endpoint":"brave-otter.vm:5353","forwarded":[]}]}"#,
        )
        .unwrap();
        insta::assert_snapshot!(table(&ports).to_string(), @r"
        PROTO   ENDPOINT                            PROCESS                     COMMAND
        tcp     brave-otter.vm:22                   sshd (412)                  sshd: /usr/sbin/sshd -D
        tcp     http://127.93.1.2:8000 (loopback)   \u{1b}[2J\u{202e}evil (9)   a\nb
        udp     brave-otter.vm:5353                 -                           -
        ");
    }

    #[test]
    fn long_commands_are_shortened() {
        assert_eq!(shortened("ls -l"), "ls -l");
        assert_eq!(shortened(&"\u{e9}".repeat(100)), format!("{}...", "\u{e9}".repeat(COMMAND_SHOWN)));
    }
}
