//! No name is ever given twice: neither that of a file which retention deleted, nor of one that somebody took away.

use super::*;

/// Records a run of some seconds that begins at this second of UTC, in one file.
fn record(archive: &Archive, run: u64, second: i64) -> FileName {
    let mut writer = writer(archive);
    start(&mut writer, run);
    play(&mut writer, run, second * 1000..second * 1000 + 2000);
    writer.finish("ShuttingDown");
    writer.flush().expect("written");
    let newest = writer.index().newest().expect("index").expect("file");
    assert_eq!(newest.run, RunId(run));
    newest.name
}

#[test]
fn the_name_of_a_file_that_retention_deleted_is_not_given_again_within_its_minute() {
    let place = Place::new();
    let first = record(&place.archive, 1, 60);
    assert_eq!(first.file(), "01.mp4");
    place.archive.delete_file(&path(), first).expect("deleted");
    assert!(!place.recording().join("1970-01-01").exists(), "nothing is left of that day");
    assert_eq!(record(&place.archive, 2, 70).file(), "01-1.mp4");
    // The next program knows it too.
    let place = place.reopen();
    let third = record(&place.archive, 3, 80);
    assert_eq!(third.file(), "01-2.mp4");
    place.archive.delete_file(&path(), third).expect("deleted");
    let place = place.reopen();
    assert_eq!(record(&place.archive, 4, 90).file(), "01-3.mp4");
    assert_eq!(record(&place.archive, 5, 120).file(), "02.mp4", "the next minute begins anew");
    // The clock is set back to where everything is gone.
    for name in ["01-1.mp4", "01-3.mp4", "02.mp4"] {
        let name = FileName::from_file(first.hour, name).expect("name");
        place.archive.delete_file(&path(), name).expect("deleted");
    }
    assert_eq!(record(&place.reopen().archive, 6, 65).file(), "01-4.mp4");
}

#[test]
fn the_name_of_a_file_that_somebody_took_away_is_not_given_again() {
    let place = Place::new();
    let first = record(&place.archive, 1, 60);
    fs::remove_file(place.recording().join(first.to_string())).expect("removed");
    assert_eq!(record(&place.archive, 2, 70).file(), "01-1.mp4", "while the program runs");
    fs::remove_file(place.recording().join("1970-01-01/00/01-1.mp4")).expect("removed");
    let place = place.reopen();
    assert_eq!(record(&place.archive, 3, 80).file(), "01-2.mp4", "while it does not");
    fs::remove_file(place.recording().join("1970-01-01/00/01-2.mp4")).expect("removed");
    let place = place.reopen();
    // A reader notices first, and the index forgets the file.
    assert!(place.index().files(first.hour).expect("files").is_empty());
    assert_eq!(record(&place.reopen().archive, 4, 90).file(), "01-3.mp4");
}

#[test]
fn a_program_that_is_killed_between_a_deletion_and_its_index_knows_the_name_all_the_same() {
    let place = Place::new();
    let first = record(&place.archive, 1, 60);
    let index = place.index();
    index.retire_names(&[first]);
    fs::remove_dir_all(place.recording().join("1970-01-01")).expect("removed");
    drop(index);
    assert_eq!(record(&place.reopen().archive, 2, 70).file(), "01-1.mp4");
}

/// What happens to a recording, for the property below.
#[derive(Debug, Clone)]
enum Happening {
    /// A run that begins in this minute.
    Recorded(i64),
    /// The file of this number (of those there are) is deleted.
    Deleted(usize),
    /// The same, by somebody else.
    TakenAway(usize),
    /// The program ends, and the next one begins.
    Restarted,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (58..63_i64).prop_map(Happening::Recorded),
        3 => any::<usize>().prop_map(Happening::Deleted),
        1 => any::<usize>().prop_map(Happening::TakenAway),
        1 => Just(Happening::Restarted),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_name_is_given_once(happenings in proptest::collection::vec(happening(), 1..30)) {
        let mut place = Place::new();
        let mut given = BTreeSet::<FileName>::new();
        let mut there = Vec::<FileName>::new();
        for (number, happening) in happenings.into_iter().enumerate() {
            match happening {
                Happening::Recorded(minute) => {
                    let name = record(&place.archive, number as u64 + 1, minute * 60);
                    prop_assert!(given.insert(name), "{} is given again", name);
                    there.push(name);
                }
                Happening::Deleted(which) if !there.is_empty() => {
                    let name = there.swap_remove(which % there.len());
                    place.archive.delete_file(&path(), name).expect("deleted");
                }
                Happening::TakenAway(which) if !there.is_empty() => {
                    let name = there.swap_remove(which % there.len());
                    fs::remove_file(place.recording().join(name.to_string())).expect("removed");
                }
                Happening::Restarted => place = place.reopen(),
                Happening::Deleted(_) | Happening::TakenAway(_) => {}
            }
        }
    }
}
