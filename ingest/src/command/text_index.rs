//! The index of words, by hand: what there is, making it and taking it away.

use chrono::{NaiveDate, Utc};
use clap::{Args, Subcommand};

use super::{CommandError, print};
use crate::config::Config;
use crate::postgres::Neighbour;
use crate::serve::Database;
use crate::store::Store;
use crate::store::text_index::{Maker, Month, State, TextIndexError, list};

/// What to do about the index of words.
#[derive(Debug, Subcommand)]
pub(super) enum TextIndexCommand {
    /// Says for each month whether it has one, and how large it is.
    List,
    /// Makes it, while everybody reads and writes on. What is there stays; what was interrupted is made anew.
    Create(Which),
    /// Takes it away.
    Drop(Which),
}

/// Which months.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// A month, such as 2026-10; repeat for more.
    #[arg(long = "month", value_name = "MONTH", value_parser = month)]
    months: Vec<NaiveDate>,
    /// Every month that is over since a day.
    #[arg(long)]
    all_closed: bool,
}

fn month(text: &str) -> Result<NaiveDate, String> {
    format!("{text}-01").parse().map_err(|_| "is not a month such as 2026-10".to_owned())
}

pub(super) async fn run(config: &Config, command: TextIndexCommand) -> Result<(), CommandError> {
    let database = Database::open(config, Neighbour::Join).await?;
    let done = match command {
        TextIndexCommand::List => shown(&database.store).await,
        TextIndexCommand::Create(which) => create(&database.store, &which).await,
        TextIndexCommand::Drop(which) => drop(&database.store, &which).await,
    };
    database.close().await;
    done
}

async fn shown(store: &Store) -> Result<(), CommandError> {
    for month in list(store).await? {
        print(&line(&month))?;
    }
    Ok(())
}

fn line(month: &Month) -> String {
    let state = match month.state {
        State::Ready => format!("indexed, {}", size(month.bytes)),
        State::Unfinished => "unfinished: it is being made, or its creation was interrupted".to_owned(),
        State::Missing if month.is_closed(Utc::now()) => "no index".to_owned(),
        State::Missing => "open".to_owned(),
    };
    format!("{}  {state}", month.month.format("%Y-%m"))
}

fn size(bytes: i64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

async fn create(store: &Store, which: &Which) -> Result<(), CommandError> {
    let mut maker = Maker::begin(store).await?;
    let now = Utc::now();
    let there = maker.months().await?;
    let closed = there.iter().rev().filter(|it| it.is_closed(now)).map(|it| it.month);
    let wanted: Vec<_> = if which.all_closed { closed.collect() } else { which.months.clone() };
    for month in wanted {
        let name = month.format("%Y-%m");
        match there.iter().find(|it| it.month == month) {
            Some(it) if it.state == State::Ready => {
                print(&format!("{name}: it is there, {}", size(it.bytes)))?;
                continue;
            }
            Some(it) => print(&format!("{name}: indexing the words of about {:.0} events", it.events))?,
            None => return Err(TextIndexError::NoMonth(month).into()),
        }
        let made = maker.make(month, now).await?;
        print(&format!("{name}: done in {:.1} s, {}", made.took.as_secs_f64(), size(made.bytes)))?;
    }
    Ok(maker.end().await?)
}

async fn drop(store: &Store, which: &Which) -> Result<(), CommandError> {
    let mut maker = Maker::begin(store).await?;
    let there = maker.months().await?;
    let with_one = there.iter().filter(|it| it.state != State::Missing).map(|it| it.month);
    let wanted: Vec<_> = if which.all_closed { with_one.collect() } else { which.months.clone() };
    for month in wanted {
        let was_there = maker.drop(month).await?;
        print(&format!("{}: {}", month.format("%Y-%m"), if was_there { "gone" } else { "it had none" }))?;
    }
    Ok(maker.end().await?)
}
