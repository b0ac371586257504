//! What is kept of all runs: `bench/results.json`, and all that is made from it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use stack::{machine, workspace};

use crate::micro::Micro;
use crate::noise::Noise;
use crate::report::Scenario;
use crate::{document, plots, readme, scenarios};

/// Packages of the operating system that are measured beside us.
const PACKAGES: [&str; 3] = ["webdis", "nginx", "libnginx-mod-nchan"];

/// All of `bench/results.json`. Each scenario may be of another run, on the same machine.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    /// Names and values: where and with what it was measured.
    pub(crate) machine: Vec<(String, String)>,
    /// Of each run that something here is of.
    pub(crate) noise: Vec<Noise>,
    /// In the order of [`scenarios::NAMES`].
    pub(crate) scenarios: Vec<Record>,
    pub(crate) micro: Option<Micro>,
}

/// A scenario, and when it was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The time, and the commit.
    pub(crate) measured: String,
    #[serde(flatten)]
    pub(crate) scenario: Scenario,
}

/// When this run is, and of which commit; and the machine it is on.
pub(crate) fn surroundings() -> (String, Vec<(String, String)>) {
    let (this_run, mut machine): (Vec<_>, Vec<_>) =
        machine::facts().into_iter().partition(|(name, _)| ["date", "commit"].contains(name));
    machine.extend(machine::workerd_version().map(|version| ("workerd", version)));
    machine.extend(PACKAGES.into_iter().filter_map(|name| Some((name, machine::package_version(name)?))));
    let measured =
        this_run.into_iter().map(|(name, value)| if name == "date" { value } else { format!("{name} {value}") });
    let owned = |(name, value): (&str, String)| (name.to_owned(), value);
    (measured.collect::<Vec<_>>().join(", "), machine.into_iter().map(owned).collect())
}

impl Results {
    /// Those that were written down last.
    pub(crate) fn read() -> Result<Self> {
        let file = folder().join("results.json");
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is of another form", file.display()))
    }

    /// Those that were written down last, for a run on this machine to go on with; or none, where there are none.
    pub(crate) fn of_machine(machine: Vec<(String, String)>) -> Result<Self> {
        if !folder().join("results.json").exists() {
            return Ok(Self::new(machine));
        }
        let results = Self::read()?;
        let (now, then) = (&machine, &results.machine);
        ensure!(
            now == then,
            "what is written down is of another machine or of other versions: now {now:?}, then {then:?}"
        );
        Ok(results)
    }

    pub(crate) fn new(machine: Vec<(String, String)>) -> Self {
        Self { machine, ..Self::default() }
    }

    /// The scenarios, without when they were measured.
    pub(crate) fn scenarios(&self) -> Vec<Scenario> {
        self.scenarios.iter().map(|record| record.scenario.clone()).collect()
    }

    pub(crate) fn scenario(&self, name: &str) -> Option<&Scenario> {
        self.scenarios.iter().map(|record| &record.scenario).find(|scenario| scenario.name == name)
    }

    /// Takes a scenario in, in place of what is known of it.
    pub(crate) fn put(&mut self, measured: &str, scenario: Scenario) {
        self.scenarios.retain(|record| record.scenario.name != scenario.name);
        self.scenarios.push(Record { measured: measured.to_owned(), scenario });
        self.scenarios.sort_by_key(|record| place(&record.scenario.name));
    }

    /// Takes note of how still the machine was in a run, and forgets runs that nothing is left of, and scenarios that
    /// are no more.
    pub(crate) fn conclude(&mut self, noise: Noise) {
        self.scenarios.retain(|record| place(&record.scenario.name).is_some());
        self.noise.push(noise);
        let (scenarios, micro) = (&self.scenarios, &self.micro);
        self.noise.retain(|noise| {
            let of_micro = micro.as_ref().is_some_and(|micro| micro.measured == noise.measured);
            of_micro || scenarios.iter().any(|record| record.measured == noise.measured)
        });
    }

    /// Writes them down. What is made from them is made from what was written, since a number read back may differ in its
    /// last digit.
    pub(crate) fn save(&self) -> Result<()> {
        Ok(fs::write(folder().join("results.json"), serde_json::to_string_pretty(self)? + "\n")?)
    }

    /// Makes anew what is made from them.
    pub(crate) fn render(&self) -> Result<()> {
        fs::create_dir_all(folder().join("plots"))?;
        for (file, text) in self.files()? {
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        println!("Written to {}", folder().join("RESULTS.md").display());
        Ok(())
    }

    /// What is made from them: the document, its plots, and the README with the figures in it.
    fn files(&self) -> Result<Vec<(PathBuf, String)>> {
        let plots = plots::all(&self.scenarios());
        let mut files = vec![
            (folder().join("RESULTS.md"), document::document(self, &plots)),
            (workspace::root().join("README.md"), readme::with_figures(self)?),
        ];
        files.extend(plots.into_iter().map(|plot| (folder().join(plot.path()), plot.svg)));
        Ok(files)
    }
}

fn folder() -> PathBuf {
    workspace::root().join("bench")
}

fn place(name: &str) -> Option<usize> {
    scenarios::NAMES.iter().position(|known| *known == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Look;

    fn named(name: &str) -> Scenario {
        Scenario { name: name.to_owned(), ..Scenario::default() }
    }

    #[test]
    fn a_scenario_measured_anew_takes_the_place_of_the_old() {
        let mut results = Results::default();
        results.put("before", named(scenarios::NAMES[1]));
        results.put("before", named(scenarios::NAMES[0]));
        results.put("now", named(scenarios::NAMES[1]));
        let shown: Vec<_> = results.scenarios.iter().map(|r| (r.scenario.name.as_str(), r.measured.as_str())).collect();
        assert_eq!(shown, [(scenarios::NAMES[0], "before"), (scenarios::NAMES[1], "now")]);
    }

    #[test]
    fn what_is_made_from_the_results_is_what_they_say() {
        for (file, text) in Results::read().unwrap().files().unwrap() {
            let written = fs::read_to_string(&file).unwrap_or_default();
            let advice = "run `cargo xtask bench --render`, which makes it from bench/results.json";
            assert!(written == text, "{} is not what it was measured to be: {advice}", file.display());
        }
    }

    #[test]
    fn a_run_that_nothing_is_left_of_is_forgotten() {
        let noise = |measured| Noise::new(measured, Look::default(), Look::default());
        let mut results = Results::default();
        results.put("before", named(scenarios::NAMES[0]));
        results.conclude(noise("before"));
        results.put("now", named(scenarios::NAMES[1]));
        results.conclude(noise("now"));
        assert_eq!(results.noise.len(), 2);
        results.put("now", named(scenarios::NAMES[0]));
        results.put("now", named("a scenario that is no more"));
        results.conclude(noise("later"));
        assert_eq!((results.noise.len(), results.scenarios.len()), (1, 2));
    }

    #[test]
    fn a_record_is_one_object() {
        let record = Record { measured: "now".to_owned(), scenario: named("s") };
        let written = serde_json::to_value(&record).unwrap();
        assert_eq!((&written["measured"], &written["name"]), (&"now".into(), &"s".into()));
        assert_eq!(serde_json::from_value::<Record>(written).unwrap().scenario.name, "s");
    }
}
