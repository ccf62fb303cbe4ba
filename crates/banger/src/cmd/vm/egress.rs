use banger_api::egress::{ChangeEgress, Egress, EgressChanged, EgressRow, Verdict};
use clap::Args;

use crate::cmd::{Outcome, block_on};
use crate::{daemon, ui};

#[derive(Debug, Args)]
pub(crate) struct EgressArgs {
    /// Name, id, or unique beginning of an id
    #[arg(value_name = "REF")]
    vm: String,
    /// Let the VM reach these as well: names, *.SUFFIX, addresses, networks, each with :PORT if need be;
    /// host:PORT, @SET
    #[arg(long, value_name = "ENTRY", value_delimiter = ',', num_args = 1..)]
    allow: Vec<String>,
    /// Keep the VM from these, and cut what it has open there
    #[arg(long, value_name = "ENTRY", value_delimiter = ',', num_args = 1..)]
    deny: Vec<String>,
    /// Allow what the VM has contacted so far, and nothing else
    #[arg(long)]
    lock: bool,
    /// Show the names that were looked up as well
    #[arg(long)]
    lookups: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &EgressArgs) -> Outcome {
    let change = ChangeEgress { allow: args.allow.clone(), deny: args.deny.clone(), lock: args.lock };
    block_on(async {
        let client = daemon::connect().await?;
        if change != ChangeEgress::default() {
            return changed(&client.vm_change_egress(&args.vm, &change).await?, args.json);
        }
        let egress = client.vm_egress(&args.vm).await?;
        if args.json {
            ui::json(&egress)?;
            return Ok(0);
        }
        ui::line(format_args!("policy: {}", egress.policy.join(",")))?;
        let table = table(&egress, args.lookups);
        if let Some(table) = table {
            ui::print(table)?;
        }
        Ok(0)
    })
}

fn changed(changed: &EgressChanged, json: bool) -> Outcome {
    if json {
        ui::json(changed)?;
        return Ok(0);
    }
    changed.remarks.iter().for_each(ui::note);
    match changed.cut {
        0 => {}
        1 => ui::note("one connection was cut that is not allowed any more"),
        cut => ui::note(format_args!("{cut} connections were cut that are not allowed any more")),
    }
    ui::line(format_args!("policy: {}", changed.policy.join(",")))?;
    Ok(0)
}

/// None when there is nothing to show.
fn table(egress: &Egress, lookups: bool) -> Option<ui::Table> {
    use banger_api::egress::Protocol;
    // A lookup that was let through shows in the connections that followed.
    let is_shown =
        |row: &&EgressRow| lookups || row.protocol != Protocol::Dns || row.verdict != Verdict::Allowed;
    let mut rows = egress.rows.iter().filter(is_shown).peekable();
    rows.peek()?;
    let mut table = ui::Table::new(&[
        "LAST", "PROTO", "NAME", "PORT", "VERDICT", "WHY", "TIMES", "OPEN", "SENT", "RECEIVED",
    ]);
    for row in rows {
        let verdict = match row.verdict {
            Verdict::Allowed => ui::paint(ui::GOOD, row.verdict),
            Verdict::Refused => ui::paint(ui::BAD, row.verdict),
            Verdict::Failed => ui::paint(ui::WARN, row.verdict),
        };
        let dash = || "-".to_owned();
        table.row([
            ui::clock(&row.last).to_owned(),
            row.protocol.to_string(),
            ui::clean(row.name.as_ref().or(row.address.as_ref()).map_or("-", String::as_str)),
            row.port.map_or_else(dash, |port| port.to_string()),
            verdict,
            why(row),
            row.attempts.to_string(),
            if row.open == 0 { dash() } else { row.open.to_string() },
            ui::bytes(row.sent_bytes),
            ui::bytes(row.received_bytes),
        ]);
    }
    Some(table)
}

fn why(row: &EgressRow) -> String {
    let text = match row.verdict {
        Verdict::Allowed => row.rule.as_ref(),
        Verdict::Refused | Verdict::Failed => row.detail.as_ref().or(row.reason.as_ref()),
    };
    ui::clean(text.map_or("-", String::as_str))
}
