//! Everything that can be read while it runs: by readers, by whoever scrapes, and from a terminal.

use ingest::api::table;

use super::{ENTITY, HOST, Seeded, Trail, below};
use crate::support::eventually;

/// Reading.
impl Trail {
    pub(super) async fn everything_is_read(&mut self) {
        for route in table().iter().filter(|route| route.method == "GET") {
            // They do not end by themselves.
            if ["/v1/events/live", "/live/rows"].contains(&route.path) {
                continue;
            }
            let path = self.ids.path(route.path);
            let answer = self.get(&path).await;
            assert!(answer.status < 500, "{path}: {}", answer.text());
            let kind = match route {
                route if route.path == "/metrics" => "metrics",
                route if route.path.starts_with("/v1/") => "an answer of the API",
                route if route.needs.is_none() => "an answer to anybody",
                _ => "a page",
            };
            self.saw(kind, &path, &answer);
        }
        // Gauges are read anew every few seconds.
        eventually(async || self.call("GET", "/metrics", &[], "").await.text().contains(HOST)).await;
        let answer = self.call("GET", "/metrics", &[], "").await;
        self.saw("metrics", "/metrics", &answer);
    }

    /// What is answered and logged while the database does not take the password.
    pub(super) async fn the_database_keeps_it_out(&mut self) {
        self.database.keeps_out().await;
        eventually(async || self.call("GET", "/readyz", &[], "").await.status == 503).await;
        for path in ["/readyz", "/v1/events", "/", "/metrics"] {
            let answer = self.get(path).await;
            self.saw("a refusal", &format!("{path} without a database"), &answer);
        }
        self.database.lets_in().await;
        eventually(async || self.call("GET", "/readyz", &[], "").await.status == 200).await;
    }

    pub(super) async fn everything_is_exported(&mut self) {
        for more in [
            "format=ndjson",
            "format=ndjson&proofs=1",
            "format=ndjson&gzip=1",
            "format=csv",
            "format=parquet",
            "format=ocsf",
        ] {
            let answer = self.get(&format!("/v1/events/export?{more}")).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            self.saw("an export", more, &answer);
        }
        let path = format!("/v1/exports/{}/download", self.ids.export);
        let file = self.get(&path).await;
        self.saw("an export", "a file of a job", &file);
        let theirs = self.call_as(&self.seeded.admin, "POST", "/v1/subjects/user-1/export", "{}").await;
        assert_eq!(theirs.status, 200, "{}", theirs.text());
        self.saw("an export", "a person's data", &theirs);
    }

    /// Everything that can be typed beside a running backend.
    pub(super) async fn an_operator_looks(&mut self) {
        let home = self.home.path().to_owned();
        let out = |name: &str| home.join(name).display().to_string();
        let url = format!("http://{}", self.backend.address);
        let entity = format!("agent/{ENTITY}");
        let (bundle, file) = (out("bundle"), out("exports/terminal.ndjson"));
        for arguments in [
            &["check-config"][..],
            &["migrate"],
            &["doctor", "--no-probe"],
            &["keys", "list"],
            &["keys", "list", "--json"],
            &["sinks", "list"],
            &["sinks", "list", "--json"],
            &["search", "entity:agent"],
            &["search", "entity:agent", "--json"],
            &["timeline", &entity],
            &["coverage"],
            &["detection", "rules"],
            &["detection", "alerts"],
            &["policy", "list"],
            &["retention", "preview", "--tenant", "demo"],
            &["retention", "run"],
            &["text-index", "list"],
            &["export", "--out", &file],
            &["bundle", &url, "--out", &bundle],
            &["verify", &url],
        ] {
            self.look(arguments, &[]).await;
        }
        for path in below(&home.join("bundle")) {
            let bytes = std::fs::read(&path).expect("read");
            self.scan.saw("a bundle", &path.display().to_string(), &bytes);
        }
        let Seeded { stray, stray_key, .. } = &self.seeded;
        let (stray, stray_key) = (stray.clone(), stray_key.clone());
        let with_password = format!("http://ops:{stray}@127.0.0.1:1/");
        for (arguments, variables) in [
            (&["sinks", "list"][..], vec![("EDGETRAIL_API_KEY", stray.as_str())]),
            (&["sinks", "list"][..], vec![("EDGETRAIL_URL", &with_password)]),
            (&["bundle", &with_password, "--out", &bundle][..], vec![]),
            (&["verify", &with_password][..], vec![]),
            (&["keys", "revoke", &stray_key][..], vec![]),
            (&["doctor", "--no-probe"][..], vec![("EDGETRAIL__ACCESS__PUBLIC_URL", &with_password)]),
        ] {
            self.look(arguments, &variables).await;
        }
    }
}
