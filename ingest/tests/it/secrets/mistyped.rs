//! Settings and commands with something wrong in them and a secret beside it: what is said of them does not repeat it.

use clap::CommandFactory as _;
use ingest::clock::random;
use ingest::command::Cli;
use shared::note::{KeyId, KeyName, SignerKey};

use crate::support::audit::edgetrail_with;
use crate::support::scan::Scan;

/// What is harmless, and known to come out.
const SETTINGS: &str = "harmless-settings-of-the-scan";

/// Kinds of places, each with something harmless that is known to be there.
const PLACES: [(&str, &str); 3] =
    [("what is said of settings", SETTINGS), ("what is said of a command", "--url"), ("help", SETTINGS)];

/// What somebody knows who mistypes something.
struct Secrets {
    /// A password, a token, a key of somebody else's.
    secret: String,
    /// A reader's key.
    key: String,
    /// A producer's.
    private_key: String,
}

/// Settings with something wrong in them and a secret beside it, or in it.
fn wrong_settings(Secrets { secret, key, private_key }: &Secrets) -> Vec<String> {
    vec![
        format!("[database]\nurl = 'mysql://ops:{secret}@db/audit'"),
        format!("[database]\nurl = 'postgres://ops:{secret}@db/audit"),
        format!("[database]\nurl = postgres://ops:{secret}@db/audit"),
        format!(
            "[database]\nurl = 'postgres://ops:{secret}@db/audit'\nurl = 'postgres://ops:{secret}@db/audit'"
        ),
        format!("[database]\nurll = 'postgres://ops:{secret}@db/audit'"),
        format!("[database]\nurl = ['postgres://ops:{secret}@db/audit']"),
        format!("[database]\nmax_connections = '{secret}'"),
        format!("[database]\nread_url = '{secret}'"),
        format!("database = 'postgres://ops:{secret}@db/audit'"),
        format!("witness = '{secret}'"),
        format!("[[witness]]\ntenant = 'demo'\ndatabase_url = '{secret}'\ntables = {{}}"),
        format!(
            "[[witness]]\ntenant = 'demo'\ndatabase_url = 'postgres://u:{secret}@db:port/x'\ntables = {{}}"
        ),
        format!(
            "[[witness]]\ntenant = 'demo'\ndatabase_url = 'postgres://u:{secret}@db/x'\ntables = '{secret}'"
        ),
        format!("[[witness]]\ntenant = 'demo'\npassword = '{secret}'"),
        format!("[access]\npublic_url = 'ftp://ops:{secret}@audit.example.com'"),
        format!("[access.app]\nissuer = 'x'\nhs256_key = '{}'", &secret[..31]),
        format!("[access.app]\nissuer = 'x'\nhs256_key = ['{secret}']"),
        format!(
            "[access.app]\nissuer = 'x'\nhs256_key = '{secret}'\njwks_url = 'https://ops:{secret}@a.example'"
        ),
        format!("[access.oidc]\nclient_id = 'x'\nclient_secret = '{secret}'"),
        format!("[own_activity]\norigins = ['https://ops:{secret}@app.example.com']"),
        format!("[own_activity.webhook]\nsecret = 'whsec_{secret}'"),
        format!(
            "[own_activity.webhook]\nurl = 'https://ops:{secret}@app.example.com'\nsecret = 'whsec_{secret}'"
        ),
        format!("[own_activity.webhook]\nurl = 'https://app.example.com/?key={secret}'\nsecret = '{secret}'"),
        format!("[worm]\nsecret_access_key = '{secret}'"),
        format!("[archive]\nurl = 'https://id:{secret}@s3.example.com'"),
        format!("[archive]\nurl = 's3://bucket'\nsecret_access_key = {{ value = '{secret}' }}"),
        format!("[sinks]\nsecret = '{secret}'"),
        format!("[[api_keys]]\nid = '{key}'\ntenant = 'demo'\nrole = 'admin'\nsha256 = ''"),
        format!("[[api_keys]]\nid = 'ops'\ntenant = 'demo'\nrole = 'admin'\nsha256 = '{key}'"),
        format!("[[api_keys]]\nid = 'ops'\ntenant = 'demo'\nrole = '{key}'\nsha256 = ''"),
        format!("[[api_keys]]\nid = 'ops'\ntenant = 'demo'\nrole = 'admin'\nkey = '{key}'"),
        format!("[[signers]]\nkey = '{private_key}'\ntenants = ['demo']"),
        format!("[[signers]]\nkey = 'x'\ntenants = ['{private_key}']"),
        format!("[[cosigners]]\nkey = 'x'\nurl = 'https://ops:{secret}@witness.example.com'"),
        format!("[http]\nlisten = '{key}'"),
        secret.clone(),
    ]
}

/// Whoever types at a terminal, and what they are told.
struct Operator {
    scan: Scan,
    secrets: Secrets,
    dir: tempfile::TempDir,
}

impl Operator {
    fn new() -> Self {
        let mut scan = Scan::default();
        let secret = scan.secrets.mint("a secret of the settings");
        // What is too short is refused for that.
        scan.secrets.add("a secret of the settings", &secret.as_bytes()[..31]);
        let key = format!("etk_ops_{}", scan.secrets.mint("a key"));
        let seed: [u8; 32] = random();
        scan.secrets.add("a private key", &seed);
        let name = KeyName::try_from("edge/scan".to_owned()).expect("a name");
        let private_key = SignerKey { name, id: KeyId([1; 4]), seed }.reveal();
        let dir = tempfile::tempdir().expect("a directory");
        Self { scan, secrets: Secrets { secret, key, private_key }, dir }
    }

    /// Writes a file and gives its path.
    fn write(&self, name: &str, text: &str) -> String {
        let file = self.dir.path().join(name);
        std::fs::write(&file, text).expect("written");
        file.display().to_string()
    }

    fn settings(&self, text: &str) -> String {
        self.write(&format!("{SETTINGS}.toml"), text)
    }

    /// Runs the program and takes down what it says; its status.
    async fn runs(
        &mut self,
        kind: &'static str,
        about: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> i32 {
        let (status, said, complained) = edgetrail_with(arguments, variables).await;
        assert!(!said.is_empty() || !complained.is_empty(), "{arguments:?}: nothing is said");
        self.scan.saw(kind, &format!("{arguments:?}, {about}"), format!("{said}{complained}").as_bytes());
        status
    }

    async fn settings_are_wrong(&mut self) {
        for settings in wrong_settings(&self.secrets) {
            let path = self.settings(&settings);
            let arguments = ["check-config", "--config", &path];
            assert_eq!(
                self.runs("what is said of settings", &settings, &arguments, &[]).await,
                2,
                "{settings}"
            );
        }
    }

    /// That an address leads nowhere is found out by who follows it.
    async fn databases_are_not_there(&mut self) {
        for place in ["db:port", "127.0.0.1:1"] {
            let url = format!("postgres://ops:{}@{place}/audit", self.secrets.secret);
            let path = self.settings(&format!("[database]\nurl = '{url}'"));
            for command in [&["migrate"][..], &["doctor", "--no-probe"]] {
                let arguments = [command, &["--config", &path]].concat();
                assert_eq!(self.runs("what is said of settings", place, &arguments, &[]).await, 1, "{place}");
            }
        }
    }

    async fn variables_are_wrong(&mut self) {
        let path = self.settings("");
        let url = format!("mysql://ops:{}@db/audit", self.secrets.secret);
        for variable in
            ["DATABASE_URL", "EDGETRAIL__DATABASE__URL", "EDGETRAIL__HTTP__MAX_CONNECTIONS", "EDGETRAIL__X"]
        {
            let (arguments, given) = (["check-config", "--config", &path], [(variable, url.as_str())]);
            let status = self.runs("what is said of settings", variable, &arguments, &given).await;
            assert_eq!(status, 2, "{variable}");
        }
    }

    /// Key files that hold other secrets, and settings of the Worker with keys beside them.
    async fn files_are_wrong(&mut self) {
        let path = self.settings("");
        let data = self.dir.path().join("pg").display().to_string();
        let Secrets { secret, private_key, .. } = &self.secrets;
        let keys = [
            ("EDGETRAIL__LOG__KEY_FILE", secret.clone()),
            ("EDGETRAIL__POLICY__KEY_FILE", format!("{private_key}?")),
        ];
        let workers = [
            format!("[vars]\nEDGETRAIL_SIGNING_KEY = '{private_key}"),
            format!("[vars]\nEDGETRAIL_CONFIG = '{{\"mounts\": \"{secret}\"}}'"),
        ];
        for (variable, text) in keys {
            let file = self.write("wrong.key", &text);
            let given = [(variable, file.as_str()), ("EDGETRAIL__DATABASE__DATA_DIR", &data)];
            let arguments = ["serve", "--config", &path];
            assert_eq!(
                self.runs("what is said of settings", variable, &arguments, &given).await,
                1,
                "{variable}"
            );
        }
        for text in workers {
            let file = self.write("wrangler.toml", &text);
            let arguments = ["doctor", "--no-probe", "--config", &path, "--edge", &file];
            assert_eq!(self.runs("what is said of settings", &text, &arguments, &[]).await, 1, "{text}");
        }
    }

    async fn commands_are_wrong(&mut self) {
        let Secrets { secret, key, private_key } = &self.secrets;
        let with_password = |host: &str| format!("http://ops:{secret}@{host}");
        let (nowhere, no_host) = (with_password("127.0.0.1:1"), with_password("[::"));
        let no_scheme = format!("ops:{secret}@127.0.0.1");
        let attached = format!("--api-key={key}");
        let (key, private_key) = (key.clone(), private_key.clone());
        for arguments in [
            &["sinks", "list", "--url", &nowhere][..],
            &["sinks", "list", "--url", &no_host],
            &["sinks", "list", "--url", &no_scheme],
            &["verify", &no_host],
            &["bundle", &no_host, "--out", "x"],
            &["sinks", "list", "--api-key", &key],
            &["sinks", "list", &attached],
            &["sinks", "list", &key],
            &["sinks", &key],
            &[&key],
            &["signer", "add", "--key", &private_key, "--tenant", "demo"],
            &["signer", "new", "--name", &private_key, "--tenant", "demo"],
            &["signer", "revoke", "edge/scan", &key],
            &["keys", "create", "--tenant", &key, "--role", "viewer", "--name", "x"],
            &["keys", "create", "--tenant", "demo", "--role", &key, "--name", "x"],
            &["serve", "--database-url", &nowhere],
            &["serve", &nowhere],
        ] {
            assert_ne!(self.runs("what is said of a command", "", arguments, &[]).await, 0, "{arguments:?}");
        }
    }

    /// The help of every command, where the environment holds a URL with a password.
    async fn help_is_asked_for(&mut self) {
        let settings = self.settings("");
        let url = format!("https://ops:{}@audit.example.com", self.secrets.secret);
        let key = self.secrets.key.clone();
        let variables = [
            ("EDGETRAIL_URL", url.as_str()),
            ("EDGETRAIL_API_KEY", &key),
            ("DATABASE_URL", &url),
            ("EDGETRAIL_CONFIG", &settings),
        ];
        let whole = Cli::command();
        let mut waiting: Vec<Vec<String>> = vec![Vec::new()];
        while let Some(path) = waiting.pop() {
            let command = path.iter().try_fold(&whole, |command, name| command.find_subcommand(name));
            let names = command.expect("it was listed").get_subcommands().map(|it| it.get_name().to_owned());
            waiting.extend(names.map(|name| [path.clone(), vec![name]].concat()));
            for help in ["--help", "-h"] {
                let arguments: Vec<&str> = path.iter().map(String::as_str).chain([help]).collect();
                assert_eq!(self.runs("help", "", &arguments, &variables).await, 0, "{arguments:?}");
            }
        }
    }
}

#[tokio::test]
async fn no_secret_is_repeated_to_whoever_mistyped_a_setting_or_a_command() {
    let mut operator = Operator::new();
    operator.settings_are_wrong().await;
    operator.databases_are_not_there().await;
    operator.variables_are_wrong().await;
    operator.files_are_wrong().await;
    operator.commands_are_wrong().await;
    operator.help_is_asked_for().await;
    operator.scan.finds_nothing_but(&PLACES);
}
