//! The packs of a trial: those compiled in, and those given.

use shared::policy::{Level, Pack, Router};

use super::MountChoice;

const APP: &str = include_str!("../../../../edge/packs/app.json");
const SUPABASE: &str = include_str!("../../../../edge/packs/supabase.json");

/// What is wrong with a pack, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) reason: String,
}

/// A pack that can be used.
#[derive(Debug, Clone)]
pub(super) struct PackFile(pub(super) Pack);

impl PackFile {
    pub(super) fn parse(text: &str) -> Result<Self, Flaw> {
        let pack = Pack::parse(text).map_err(|error| {
            let (line, column) = error.place(text);
            Flaw { line, column, reason: error.reason() }
        })?;
        match Router::compile(vec![pack.clone()]) {
            Ok(_) => Ok(Self(pack)),
            Err(error) => {
                // Router errors have no place; the path stands in the text as it is.
                let at = text.find(&format!("{:?}", error.path())).unwrap_or(0);
                let line_start = text[..at].rfind('\n').map_or(0, |end| end + 1);
                let line = text[..at].matches('\n').count() + 1;
                let column = text[line_start..at].chars().count() + 1;
                Err(Flaw { line, column, reason: error.to_string() })
            }
        }
    }
}

/// Which of the two compiled-in packs is meant for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    App,
    Supabase,
}

impl Side {
    /// Supabase's gateway serves each of its services under a prefix of its own.
    pub(super) fn of(path: &str) -> Self {
        const SERVICES: &[&str] = &["auth", "rest", "storage", "realtime", "functions", "graphql", "pg"];
        let mut segments = path.split('/').skip(1);
        let (service, version) = (segments.next().unwrap_or_default(), segments.next());
        if SERVICES.contains(&service) && version == Some("v1") { Self::Supabase } else { Self::App }
    }

    fn pack(self) -> (&'static str, &'static str) {
        match self {
            Self::App => ("app", APP),
            Self::Supabase => ("supabase", SUPABASE),
        }
    }
}

/// The rules for one side: the given packs first, then the compiled-in one unless it is replaced or not wanted.
pub(super) fn router(
    side: Side,
    own: &[PackFile],
    mount: MountChoice,
    shadow: bool,
) -> Result<Router, String> {
    let (name, text) = side.pack();
    let other = |name: &str| ["app", "supabase"].contains(&name);
    let belongs = |pack: &Pack| match &pack.extends {
        Some(base) => base == name || !other(base),
        None => pack.name == name || !other(&pack.name),
    };
    let mut packs: Vec<Pack> = own.iter().map(|file| file.0.clone()).filter(belongs).collect();
    if mount == MountChoice::Own {
        packs = own.iter().map(|file| file.0.clone()).collect();
    } else if !packs.iter().any(|pack| pack.name == name && pack.extends.is_none()) {
        packs.push(Pack::parse(text).map_err(|error| format!("pack {name}: {error}"))?);
    }
    if shadow {
        for rule in packs.iter_mut().flat_map(|pack| &mut pack.rules) {
            rule.level = rule.level.min(Level::Metadata);
        }
    }
    Router::compile(packs).map_err(|error| error.to_string())
}
