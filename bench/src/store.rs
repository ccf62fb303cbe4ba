use rusqlite::Connection;

use crate::error::BenchError;
use crate::home::Home;

/// How many VMs a busy user may have lying about.
pub(crate) const STORED_VMS: usize = 200;

/// Names of rows that stand for no real VM. Every name that a bench gives begins with `bench-`.
const PREFIX: &str = "bench-copy-";

impl Home {
    /// Fills the store up to [`STORED_VMS`] with copies of one VM's row, and links to its disks. Real ones
    /// would take minutes to make, and listing only looks whether they are there.
    pub(crate) fn store_many(&self) -> Result<(), BenchError> {
        self.banger(&["vm", "create", "--quiet", "--name", "bench-template"])?;
        self.banger(&["daemon", "stop"])?;
        let store = Connection::open(self.state().join("banger.db"))?;
        let template: String =
            store.query_row("SELECT id FROM vms WHERE name = 'bench-template'", [], |row| row.get(0))?;
        let vms = self.state().join("vms");
        for n in 1..STORED_VMS {
            let dir = vms.join(format!("{n:012x}"));
            std::fs::create_dir(&dir).map_err(BenchError::file("make", &dir))?;
            for disk in ["cow.img", "work.ext4"] {
                let (from, to) = (vms.join(&template).join(disk), dir.join(disk));
                std::fs::hard_link(from, &to).map_err(BenchError::file("make", &to))?;
            }
            store.execute(
                "INSERT INTO vms (id, name, image_id, kernel_id, phase, created_at_unix_ms, spec)
                 SELECT printf('%012x', ?1), ?2 || ?1, image_id, kernel_id, phase, created_at_unix_ms, spec
                 FROM vms WHERE name = 'bench-template'",
                (n as i64, PREFIX),
            )?;
        }
        drop(store);
        self.banger(&["daemon", "start"])?;
        Ok(())
    }

    /// Takes out every VM of a bench, also of one that was killed; the daemon must not run.
    pub(crate) fn forget_rows(&self) -> Result<(), BenchError> {
        let path = self.state().join("banger.db");
        if !path.is_file() {
            return Ok(());
        }
        let store = Connection::open(path)?;
        // A store without that table is one that no daemon has used yet.
        let Ok(mut find) = store.prepare("SELECT id FROM vms WHERE name LIKE 'bench-%'") else {
            return Ok(());
        };
        let ids: Vec<String> = find.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for id in ids {
            let dir = self.state().join("vms").join(&id);
            // A directory without a row would be taken in again, as it says whose it is.
            match std::fs::remove_dir_all(&dir) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(BenchError::file("remove", dir)(error));
                }
                _ => store.execute("DELETE FROM vms WHERE id = ?1", [&id])?,
            };
        }
        Ok(())
    }
}
