//! Through a proxy, and past it.

use banger_registry::{Proxies, Reference, RegistryError, Security, Settings};

use crate::bench::{Bench, app, settings, shown};
use crate::images::{Content, noise};
use crate::server::{Reply, Request, Server};

fn through(proxies: Proxies) -> Bench {
    Bench::with(&Settings { proxies, ..settings() }, banger_registry::Keychain::empty())
}

#[tokio::test]
async fn a_proxy_is_asked_for_hosts_that_are_not_this_machine() {
    let content = Content::image(&[noise(1, 1000)]);
    let proxy = Server::start(move |request| match request.path.strip_prefix("http://registry.invalid") {
        Some(path) => content.reply(&Request { path: path.to_owned(), ..request.clone() }),
        None => Reply::new(403, ""),
    })
    .await;
    let bench = through(Proxies {
        all: Some(format!("http://user:hunter2@{}", proxy.address)),
        ..Proxies::default()
    });
    let reference: Reference = "registry.invalid/team/app:1".parse().unwrap();
    let image = bench.client.resolve(&bench.store, &reference, Security::Insecure).await.unwrap();
    bench.fetch(&image).await.unwrap();
    assert_eq!(proxy.requests()[0].method, "CONNECT");
    assert!(proxy.requests().iter().all(|request| request.header("proxy-authorization").is_some()));

    let error = bench.client.resolve(&bench.store, &reference, Security::Verified).await.unwrap_err();
    let text = shown(&error);
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{text}");
    assert!(text.contains(&format!("through the proxy {}", proxy.address)), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn no_proxy_stands_between_us_and_this_machine() {
    let content = Content::image(&[noise(1, 1000)]);
    let server = Server::start(move |request| content.reply(request)).await;
    let nobody = Some("http://127.0.0.1:1".to_owned());
    let bench = through(Proxies { http: nobody.clone(), https: nobody.clone(), all: nobody, no_proxy: None });
    bench.resolve(&app(&server)).await.unwrap();
}

#[tokio::test]
async fn what_no_proxy_names_is_reached_directly() {
    let proxy = Server::start(|_| Reply::new(200, "from the proxy")).await;
    let bench = through(Proxies {
        http: Some(proxy.address.to_string()),
        no_proxy: Some("direct.invalid".to_owned()),
        ..Proxies::default()
    });
    let fetch = async |url| bench.client.fetch_text(url, 100, Security::Insecure).await;
    assert_eq!(fetch("http://other.invalid/x").await.unwrap(), "from the proxy");
    let error = fetch("http://direct.invalid/x").await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { proxy: None, .. }), "{}", shown(&error));
    assert_eq!(proxy.requests().len(), 1);
}
