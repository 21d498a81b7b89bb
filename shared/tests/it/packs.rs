//! The packs that are compiled into the Worker.

pub(crate) const APP: &str = include_str!("../../../edge/packs/app.json");
pub(crate) const SUPABASE: &str = include_str!("../../../edge/packs/supabase.json");
