//! How heavy an agent is to run: the application's own score, computed from what was captured. Version `ais-1`.
//!
//! Every input is brought to 0–10 over a range, weighed, and summed to a component; the components are weighed and summed to
//! the score of execution; with [`MIN_RUNS`] runs that counts 0.7 beside the 0.3 of the score at creation, before that the score
//! at creation stands alone. Ranges and weights are the application's defaults; an application that has changed its own computes
//! another score.
//!
//! What was not captured is none and takes nothing's place. The score is then not known but lies between two bounds: an input
//! that is missing can count for nothing or for all of its weight. Left out of `ais-1`: the factor by which the application
//! amplifies growth when runs fail, since it stands in its database alone.

/// Which formula this is.
pub const VERSION: &str = "ais-1";
/// Runs from which on execution counts.
pub const MIN_RUNS: i64 = 5;
/// The highest of every score.
const TOP: f64 = 10.0;
const CREATION: f64 = 0.3;
const EXECUTION: f64 = 0.7;
/// What the growth of output adds from so many percent on.
const GROWTH: [(f64, f64); 3] = [(100.0, 1.0), (50.0, 0.5), (25.0, 0.2)];

/// What is known of an agent. What was not captured is none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Inputs {
    /// Runs so far.
    pub runs: i64,
    /// The score at creation, 0–10.
    pub creation: Option<f64>,
    /// Tokens out for each token in, of the last run that tells both.
    pub output_input_ratio: Option<f64>,
    /// By how many percent the last run gave more output than runs do in the mean.
    pub output_growth: Option<f64>,
    /// Turns of a run, in the mean.
    pub iterations: Option<f64>,
    /// Milliseconds of a run, in the mean.
    pub duration_ms: Option<f64>,
    /// Percent of the runs that did not end well.
    pub failure_rate: Option<f64>,
    /// Retries of a run, in the mean.
    pub retry_rate: Option<f64>,
    /// Plugins that the agent needs.
    pub plugins: Option<f64>,
    /// Plugins of a run, in the mean.
    pub plugins_per_run: Option<f64>,
    /// Milliseconds that went into the use of tools.
    pub overhead_ms: Option<f64>,
    /// Steps of its workflow, at most.
    pub steps: Option<f64>,
    /// Branches of its workflow.
    pub branches: Option<f64>,
    /// Turns of its loops.
    pub loops: Option<f64>,
    /// Steps at a time.
    pub parallel: Option<f64>,
    /// How much of the input is memory, 0–1.
    pub memory_ratio: Option<f64>,
    /// Kinds of memory in use.
    pub memory_kinds: Option<f64>,
    /// Memories that are loaded.
    pub memory_entries: Option<f64>,
}

/// A figure between bounds; known if they are one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// It is not less.
    pub least: f64,
    /// It is not more.
    pub most: f64,
}

impl Score {
    const NOTHING: Self = Self { least: 0.0, most: 0.0 };

    fn known(value: f64) -> Self {
        Self { least: value, most: value }
    }

    fn upto(most: f64) -> Self {
        Self { least: 0.0, most }
    }

    fn weighed(self, weight: f64) -> Self {
        Self { least: self.least * weight, most: self.most * weight }
    }

    fn and(self, other: Self) -> Self {
        Self { least: self.least + other.least, most: self.most + other.most }
    }

    fn within(self) -> Self {
        Self { least: self.least.clamp(0.0, TOP), most: self.most.clamp(0.0, TOP) }
    }

    /// The figure, if nothing is missing.
    pub fn value(self) -> Option<f64> {
        (self.least == self.most).then_some(self.least)
    }
}

/// An input, how far it counts, and what it gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    /// What it is.
    pub name: &'static str,
    /// What was captured.
    pub input: Option<f64>,
    /// What of it counts in its component.
    pub weight: f64,
    /// What it adds to its component.
    pub adds: Score,
}

/// A component of the score of execution.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// What it is.
    pub name: &'static str,
    /// What of it counts in the score.
    pub weight: f64,
    /// 0–10.
    pub score: Score,
    /// What it is summed from.
    pub parts: Vec<Part>,
}

/// An agent's score, with everything that it is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Intensity {
    /// 0–10.
    pub score: Score,
    /// By how much tokens are multiplied when they are charged: 1–2.
    pub multiplier: Score,
    /// 0–10.
    pub creation: Score,
    /// 0–10.
    pub execution: Score,
    /// Of execution.
    pub components: Vec<Component>,
    /// Whether every input that counts was captured.
    pub is_complete: bool,
}

/// The score of what is known of an agent.
pub fn score(inputs: &Inputs) -> Intensity {
    let components = vec![
        tokens(inputs),
        weighed(
            "execution",
            0.25,
            &[
                ("iterations", inputs.iterations, 0.35, (1.0, 10.0)),
                ("duration_ms", inputs.duration_ms, 0.30, (0.0, 30_000.0)),
                ("failure_rate", inputs.failure_rate, 0.20, (0.0, 50.0)),
                ("retry_rate", inputs.retry_rate, 0.15, (0.0, 3.0)),
            ],
        ),
        weighed(
            "plugins",
            0.20,
            &[
                ("plugins", inputs.plugins, 0.40, (0.0, 10.0)),
                ("plugins_per_run", inputs.plugins_per_run, 0.35, (0.0, 8.0)),
                ("overhead_ms", inputs.overhead_ms, 0.25, (0.0, 5_000.0)),
            ],
        ),
        weighed(
            "workflow",
            0.15,
            &[
                ("steps", inputs.steps, 0.40, (0.0, 20.0)),
                ("branches", inputs.branches, 0.25, (0.0, 10.0)),
                ("loops", inputs.loops, 0.20, (0.0, 50.0)),
                ("parallel", inputs.parallel, 0.15, (0.0, 5.0)),
            ],
        ),
        memory(inputs),
    ];
    let sum = |sum: Score, it: &Component| sum.and(it.score.weighed(it.weight));
    let execution = components.iter().fold(Score::NOTHING, sum);
    let creation = inputs.creation.map_or(Score::upto(TOP), |score| Score::known(score.clamp(0.0, TOP)));
    let counts = inputs.runs >= MIN_RUNS;
    let score = if counts { creation.weighed(CREATION).and(execution.weighed(EXECUTION)) } else { creation };
    let is_whole = components.iter().flat_map(|it| &it.parts).all(|part| part.input.is_some());
    Intensity {
        score,
        multiplier: Score { least: 1.0 + score.least / TOP, most: 1.0 + score.most / TOP },
        creation,
        execution,
        components,
        is_complete: inputs.creation.is_some() && (!counts || is_whole),
    }
}

/// A value's place in a range, 0–10.
fn placed(value: f64, (least, most): (f64, f64)) -> f64 {
    TOP * (value.clamp(least, most) - least) / (most - least)
}

type Weighed = (&'static str, Option<f64>, f64, (f64, f64));

fn weighed(name: &'static str, weight: f64, inputs: &[Weighed]) -> Component {
    let part = |&(name, input, weight, range): &Weighed| {
        let score = input.map_or(Score::upto(TOP), |value| Score::known(placed(value, range)));
        Part { name, input, weight, adds: score.weighed(weight) }
    };
    summed(name, weight, inputs.iter().map(part).collect())
}

fn summed(name: &'static str, weight: f64, parts: Vec<Part>) -> Component {
    let score = parts.iter().fold(Score::NOTHING, |sum, part| sum.and(part.adds)).within();
    Component { name, weight, score, parts }
}

/// Much output for little input is a low score; output that grows is a higher one.
fn tokens(inputs: &Inputs) -> Component {
    const WEIGHT: f64 = 0.7;
    let ratio = inputs.output_input_ratio;
    let efficiency = ratio.map_or(Score::upto(TOP), |value| Score::known(TOP - placed(value, (0.5, 3.0))));
    let tier = |growth: f64| GROWTH.iter().find(|(from, _)| growth >= *from).map_or(0.0, |(_, adds)| *adds);
    let growth = inputs.output_growth;
    let added = growth.map_or(Score::upto(GROWTH[0].1), |growth| Score::known(tier(growth)));
    let parts = vec![
        Part { name: "output_input_ratio", input: ratio, weight: WEIGHT, adds: efficiency.weighed(WEIGHT) },
        Part { name: "output_growth", input: growth, weight: 1.0, adds: added },
    ];
    summed("tokens", 0.30, parts)
}

/// Nothing for an agent without memory.
fn memory(inputs: &Inputs) -> Component {
    let mut component = weighed(
        "memory",
        0.10,
        &[
            ("memory_ratio", inputs.memory_ratio, 0.50, (0.0, 0.9)),
            ("memory_kinds", inputs.memory_kinds, 0.30, (0.0, 3.0)),
            ("memory_entries", inputs.memory_entries, 0.20, (0.0, 20.0)),
        ],
    );
    if inputs.memory_ratio == Some(0.0) {
        component.parts.iter_mut().for_each(|part| part.adds = Score::NOTHING);
        component.score = Score::NOTHING;
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The application's own figures: a first run that failed after 61 ms, by an agent with two plugins.
    fn recorded() -> Inputs {
        Inputs {
            runs: 1,
            creation: Some(5.0),
            output_input_ratio: Some(1.0),
            output_growth: Some(0.0),
            iterations: Some(1.0),
            duration_ms: Some(61.0),
            failure_rate: Some(100.0),
            retry_rate: Some(0.0),
            plugins: Some(2.0),
            plugins_per_run: Some(2.0),
            overhead_ms: Some(61.0),
            steps: Some(0.0),
            branches: Some(0.0),
            loops: Some(0.0),
            parallel: Some(0.0),
            memory_ratio: Some(0.0),
            memory_kinds: Some(0.0),
            memory_entries: Some(0.0),
        }
    }

    fn component(intensity: &Intensity, name: &str) -> f64 {
        let found = intensity.components.iter().find(|it| it.name == name).expect("it is one");
        found.score.value().expect("nothing is missing")
    }

    fn close(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-9
    }

    #[test]
    fn what_the_application_wrote_of_a_recorded_run_is_what_we_compute() {
        // Its PATCH of agent_intensity_metrics, after its first run.
        let first = score(&recorded());
        for (name, theirs) in
            [("tokens", 5.6), ("execution", 2.0061), ("plugins", 1.7055), ("workflow", 0.0), ("memory", 0.0)]
        {
            assert!(close(component(&first, name), theirs), "{name}: {first:?}");
        }
        assert!(close(first.execution.value().expect("known"), 2.522_625), "{first:?}");
        assert_eq!((first.score.value(), first.is_complete), (Some(5.0), true));
        // And after its second, which ended well and had a step.
        let second = Inputs {
            runs: 2,
            duration_ms: Some(37.0),
            failure_rate: Some(50.0),
            steps: Some(1.0),
            ..recorded()
        };
        let second = score(&second);
        assert!(close(component(&second, "execution"), 2.0037), "{second:?}");
        assert!(close(component(&second, "workflow"), 0.2), "{second:?}");
        assert!(close(second.execution.value().expect("known"), 2.552_025), "{second:?}");
    }

    #[test]
    fn with_five_runs_execution_counts_seven_tenths() {
        let fifth = score(&Inputs { runs: 5, ..recorded() });
        // 0.3 * 5 + 0.7 * 2.522625, and the multiplier is a tenth of it above 1.
        assert!(close(fifth.score.value().expect("known"), 3.265_837_5), "{fifth:?}");
        assert!(close(fifth.multiplier.value().expect("known"), 1.326_583_75), "{fifth:?}");
    }

    #[test]
    fn output_that_grows_adds_by_its_tier_and_no_component_is_above_ten() {
        for (growth, adds) in [(-90.0, 0.0), (24.9, 0.0), (25.0, 0.2), (50.0, 0.5), (99.0, 0.5), (100.0, 1.0)]
        {
            let grown = score(&Inputs { output_growth: Some(growth), ..recorded() });
            assert!(close(component(&grown, "tokens"), 5.6 + adds), "{growth}");
        }
        let all = Inputs {
            iterations: Some(1e9),
            duration_ms: Some(1e12),
            failure_rate: Some(100.0),
            retry_rate: Some(1e3),
            ..recorded()
        };
        assert!(close(component(&score(&all), "execution"), 10.0));
    }

    #[test]
    fn what_was_not_captured_leaves_bounds_and_not_a_figure() {
        let told = score(&Inputs { runs: 7, retry_rate: None, ..recorded() });
        // 0.7 * 0.25 * 0.15 * 10 is what the retries could count for.
        let (least, most) = (3.265_837_5, 3.265_837_5 + 0.262_5);
        assert!(close(told.score.least, least) && close(told.score.most, most), "{told:?}");
        assert_eq!((told.score.value(), told.is_complete), (None, false));
        let nothing = score(&Inputs::default());
        assert_eq!((nothing.score.least, nothing.score.most), (0.0, 10.0));
        assert!(!nothing.is_complete && nothing.multiplier.value().is_none());
    }
}
