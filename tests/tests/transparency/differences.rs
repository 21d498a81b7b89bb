//! What a proxy made of `fetch` changes, held to exactly that.

use crate::raw::message;
use crate::scene::{AUDITED, Request, Scene, Seen, UNAUDITED};

fn target(seen: &Seen) -> &str {
    seen.arrival.as_ref().expect("it reached the origin").head.target()
}

#[tokio::test]
async fn probe() {
    let scene = Scene::start().await;
    scene.origin.answers(message("HTTP/1.1 200 OK\r\nX-Name: gr\u{fc}n", "ok"));
    for suffix in
        ["/x/../y", "/./y", "/%2e%2e/y", "?", "/a\\b", "/a|b\"c<d>e`f{g}h^i[j]", "?a\"b<c>d'e", "#frag"]
    {
        for request in [Request::new("GET").suffix(suffix)] {
            let [direct, through] = scene.both(UNAUDITED, &request).await;
            println!("{} -> {:?}", target(&direct), through.arrival.map(|a| a.head.first));
        }
    }
    for method in ["DELETE", "OPTIONS", "POST", "PURGE", "PROPFIND", "TRACE", "get", "FOO", "CONNECT"] {
        for path in [UNAUDITED, AUDITED] {
            let [direct, through] =
                scene.both(path, &Request::new(method).header("Expect", "100-continue")).await;
            println!(
                "{method} direct {:?}\n  through {:?}\n answer {:?}",
                direct.arrival, through.arrival, through.answer
            );
        }
    }
    for path in [UNAUDITED, AUDITED] {
        let request = Request::new("GET")
            .body("{}")
            .header("X-Twice", "a")
            .header("X-Twice", "b")
            .header("X-L", "\u{fc}");
        let [direct, through] = scene.both(path, &request).await;
        println!("{path} GET+body direct {:?} \n {:?}", direct.arrival, direct.answer.map(|a| a.head));
        println!("through {:?}\n answer {:?}", through.arrival, through.answer);
    }
    println!("{}", scene.worker.output());
    panic!();
}
