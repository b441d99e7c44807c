//! Probely's proxy.

use tributary_simulator::{Size, probely::Probely, start};

use crate::client::ask;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_without_a_name_of_its_own_is_refused_by_the_proxy() {
    let tool = start(Probely::new(Size { records: 1, findings: 10, seed: 1 }), 0).await.unwrap();
    for agent in ["", "Python-urllib/3.12", "Go-http-client/2.0"] {
        let answer = ask(&tool, "GET", "/profile/", &format!("User-Agent: {agent}"), "").await;
        let page = answer.text;
        assert!(answer.status == 403 && page.contains("1010") && page.starts_with("<!doctype html>"), "{agent}: {page}");
    }
}
