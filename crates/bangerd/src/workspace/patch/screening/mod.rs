//! What in a patch could run on the host, or make a program there run something.
//!
//! `path_table` lists the names that something acts on, and `path_rules` finds them. `content` looks at the
//! lines as they go by, with `git_config` and `attributes` for the files that git itself obeys, and
//! `package_json` and `lock_file`. `symlink`, `collision` and `nested_repository` look at what files do to
//! each other, `obeyed` at what the host's repository is set to. `names` folds a name as forgiving file
//! systems do, so that no rule is got around with other letters for the same file.
//!
//! No such list is ever complete: it finds what is known to act on its own. A build or a test that the user
//! starts runs the guest's code anyway, and reading the patch stays the user's part.

mod attributes;
mod collision;
mod content;
mod finding;
mod git_config;
mod lock_file;
mod names;
mod nested_repository;
mod obeyed;
mod package_json;
mod path_rules;
mod path_table;
mod screen;
mod symlink;

#[cfg(test)]
mod content_tests;
#[cfg(test)]
mod path_tests;
#[cfg(test)]
mod tree_tests;

pub use finding::{Finding, Rule, Severity};
pub use git_config::is_obeyed;
pub use lock_file::locked_hosts;
pub use obeyed::Obeyed;
pub use package_json::PackageJson;
pub use path_rules::names_what_runs_unasked;
pub use screen::{Screening, TreeEntry};
