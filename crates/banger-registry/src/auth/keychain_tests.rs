use std::fs;
use std::sync::Mutex;

use super::*;

/// Answers as told, and remembers what it was asked.
struct StubHelper {
    answer: Result<HelperOutput, String>,
    asked: Mutex<Vec<(String, String)>>,
}

impl CredentialHelper for StubHelper {
    fn get(&self, program: String, key: String) -> HelperFuture {
        self.asked.lock().unwrap().push((program, key));
        let answer = self.answer.clone().map_err(Into::into);
        Box::pin(async move { answer })
    }
}

fn says(success: bool, stdout: &str) -> Arc<StubHelper> {
    Arc::new(StubHelper {
        answer: Ok(HelperOutput { success, stdout: stdout.as_bytes().to_vec() }),
        asked: Mutex::default(),
    })
}

struct Home(tempfile::TempDir);

impl Home {
    fn with(files: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = home.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(home)
    }

    fn keychain(&self, helper: Option<Arc<dyn CredentialHelper>>) -> Keychain {
        let at = |name: &str| Some(self.0.path().join(name).display().to_string());
        let lookup = |name: &str| match name {
            "HOME" => at(""),
            "XDG_RUNTIME_DIR" => at("run"),
            _ => None,
        };
        Keychain::from_environment(&lookup, helper)
    }
}

const STORE: &str = r#"{"credsStore":"fake"}"#;

async fn with_helper(helper: Arc<StubHelper>) -> (Option<Credential>, String) {
    let home = Home::with(&[(".docker/config.json", STORE)]);
    let (found, problems) = home.keychain(Some(helper)).find("a.io", "x").await;
    let said = problems.iter().map(|problem| format!("{problem} {problem:?}")).collect();
    (found.map(|found| found.credential), said)
}

#[tokio::test]
async fn dockers_file_comes_before_podmans_and_a_bad_one_is_told() {
    let good = |password: &str| format!(r#"{{"auths":{{"a.io":{{"password":"{password}"}}}}}}"#);
    let both = Home::with(&[
        (".docker/config.json", &good("docker")),
        ("run/containers/auth.json", &good("podman")),
    ]);
    let (found, problems) = both.keychain(None).find("a.io", "x").await;
    let found = found.unwrap();
    assert_eq!(
        found.credential,
        Credential::Password { user: String::new(), password: Secret::new("docker") }
    );
    assert!(found.place.ends_with(".docker/config.json"));
    assert_eq!(problems, []);

    let bad =
        Home::with(&[(".docker/config.json", "{hunter2"), ("run/containers/auth.json", &good("podman"))]);
    let (found, problems) = bad.keychain(None).find("a.io", "x").await;
    assert!(found.unwrap().place.ends_with("auth.json"));
    let said = problems[0].to_string();
    assert!(said.contains("config.json was not used") && said.contains("line 1"), "{said}");
    assert!(!said.contains("hunter2"));
}

#[tokio::test]
async fn no_files_is_no_credentials_and_no_problem() {
    let (found, problems) = Home::with(&[]).keychain(None).find("a.io", "x").await;
    assert_eq!((found, problems), (None, Vec::new()));
    let (found, problems) = Keychain::empty().find("a.io", "x").await;
    assert_eq!((found, problems), (None, Vec::new()));
}

#[tokio::test]
async fn a_helper_gives_passwords_and_tokens() {
    let helper = says(true, r#"{"ServerURL":"a.io","Username":"u","Secret":"hunter2"}"#);
    let (credential, said) = with_helper(Arc::clone(&helper)).await;
    assert_eq!(
        credential,
        Some(Credential::Password { user: "u".to_owned(), password: Secret::new("hunter2") })
    );
    assert_eq!(said, "");
    assert_eq!(helper.asked.lock().unwrap()[..], [("docker-credential-fake".to_owned(), "a.io".to_owned())]);
    let (credential, _) = with_helper(says(true, r#"{"Username":"<token>","Secret":"t"}"#)).await;
    assert_eq!(credential, Some(Credential::IdentityToken(Secret::new("t"))));
}

#[tokio::test]
async fn a_helper_without_credentials_is_no_problem_and_a_broken_one_is() {
    let none = with_helper(says(false, "credentials not found in native keychain\n")).await;
    assert_eq!(none, (None, String::new()));
    let (credential, said) = with_helper(says(false, "the \u{1b}[1mkeychain is locked")).await;
    assert!(credential.is_none());
    assert!(said.contains("docker-credential-fake") && said.contains("keychain is locked"), "{said}");
    assert!(!said.contains('\u{1b}'));
    for stdout in ["", "hunter2", r#"{"Secret":["hunter2"]}"#] {
        let (credential, said) = with_helper(says(true, stdout)).await;
        assert!(credential.is_none());
        assert!(said.contains("not the JSON") && !said.contains("hunter2"), "{said}");
    }
    let missing = Arc::new(StubHelper { answer: Err("not installed".to_owned()), asked: Mutex::default() });
    assert!(with_helper(missing).await.1.contains("not installed"));
}

#[tokio::test]
async fn a_helper_is_a_name_and_never_a_path() {
    let home = Home::with(&[(".docker/config.json", r#"{"credsStore":"../../bin/sh"}"#)]);
    let helper = says(true, "{}");
    let (found, problems) = home.keychain(Some(Arc::clone(&helper) as Arc<_>)).find("a.io", "x").await;
    assert!(found.is_none());
    assert!(problems[0].to_string().contains("no name of a helper"));
    assert!(helper.asked.lock().unwrap().is_empty());
}

#[test]
fn secrets_are_never_shown() {
    let credential = Credential::Password { user: "u".to_owned(), password: Secret::new("hunter2") };
    let output = HelperOutput { success: true, stdout: b"hunter2".to_vec() };
    let header = super::super::credential::basic("u", &Secret::new("hunter2")).unwrap();
    let shown = format!("{credential:?} {output:?} {header:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVyM"), "{shown}");
}
