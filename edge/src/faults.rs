//! Planted stops, in test builds only: `?fault=route`, `?fault=inspect`, `?fault=build`, `?fault=memory`.

use std::cell::Cell;

thread_local! {
    static NEXT_BUILD: Cell<bool> = const { Cell::new(false) };
}

/// Stops the core if the query asks for it at this step.
pub(crate) fn plant(step: &str, query: &str) {
    if query.contains("fault=memory") && step == "inspect" {
        let mut hoard: Vec<Vec<u8>> = Vec::new();
        loop {
            hoard.push(vec![1; 64 << 20]);
        }
    }
    if query.contains("fault=build") && step == "inspect" {
        NEXT_BUILD.set(true);
    }
    assert!(!query.contains(&format!("fault={step}")) || step == "build", "planted at {step}");
}

/// Stops the core if the last inspected request asked for it.
pub(crate) fn plant_build() {
    assert!(!NEXT_BUILD.take(), "planted at build");
}
