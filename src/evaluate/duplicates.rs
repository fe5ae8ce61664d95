//! Which photographs of different people may show one person: judged ones are left out, likely ones
//! are listed for somebody to look at.
//!
//! * Judgements come from a file ([`super::protocol::duplicates`]) and join *people*: every
//!   comparison between two people of a cluster is left out of the false matches and counted.
//! * Likely duplicates are the closure of pairs at or above a similarity: photographs that hang
//!   together by such pairs form a cluster.
//! * A likely duplicate that nobody has judged counts as a false match. So a rate can be too high
//!   here, never too low. In the bounds of a group one of each cluster stays, and no bound rests on
//!   a count near the limit ([`super::bounds`]): an unjudged tail is taken for true in neither
//!   place.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::left_out::LeftOut;
use super::protocol::duplicates::{JudgedCluster, PairVerdict};

/// Similarity from which different people are listed as likely duplicates, unless told otherwise.
/// By eye, some 40 of 48 pairs from .55 to .60 of cleaned web photographs showed one person.
pub const LIKELY_FROM: f32 = 0.55;

/// Two different people who are so similar that they were taken for one, by row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Suspect {
    /// Row of one photograph.
    pub a: usize,
    /// Row of the other.
    pub b: usize,
    /// Their similarity.
    pub similarity: f32,
}

/// What somebody's judgements say of the people that are compared.
#[derive(Debug, Clone, Default)]
pub struct JudgedPeople {
    /// Cluster of each person, by the person's number; `None`: in no judged cluster. Persons of one
    /// cluster that is no [`PairVerdict::Different`] are not compared as different people.
    joined: Vec<Option<u32>>,
    /// Pairs of persons that were judged to be different, lower number first.
    different: HashSet<(u32, u32)>,
}

impl JudgedPeople {
    /// Finds the people of `clusters`: row `i` is photograph `files[i]` of person `people[i]`.
    /// Names that no row has are left out under a reason.
    pub fn new(
        clusters: &[JudgedCluster],
        files: &[String],
        people: &[u32],
        left_out: &mut LeftOut,
    ) -> Self {
        let number: HashMap<&str, u32> =
            files.iter().map(String::as_str).zip(people.iter().copied()).collect();
        let count = people.iter().max().map_or(0, |p| *p as usize + 1);
        let mut sets = Sets::new(count);
        let mut judged = vec![false; count];
        let mut different = HashSet::new();
        for cluster in clusters {
            let mut of: Vec<u32> = Vec::new();
            for file in &cluster.files {
                match number.get(file.as_str()) {
                    Some(person) => of.push(*person),
                    None => left_out.add(
                        file,
                        "judged duplicate without a template",
                        "no such photograph was compared",
                    ),
                }
            }
            if cluster.verdict == PairVerdict::Different {
                for (at, a) in of.iter().enumerate() {
                    different.extend(of[at + 1..].iter().map(|b| (*a.min(b), *a.max(b))));
                }
                continue;
            }
            for person in &of {
                judged[*person as usize] = true;
                sets.join(of[0] as usize, *person as usize);
            }
        }
        let joined = (0..count).map(|p| judged[p].then(|| sets.of(p) as u32)).collect();
        Self { joined, different }
    }

    /// Whether two people were judged to be one, or twins.
    pub fn joins(&self, a: u32, b: u32) -> bool {
        let of = |p: u32| self.joined.get(p as usize).copied().flatten();
        of(a).is_some_and(|cluster| of(b) == Some(cluster))
    }

    /// Of `all` people, who stay when everybody is left out who hangs together with one of lower
    /// number: by a judgement, or by `pairs` of rows, unless they were judged to be different.
    /// `people` numbers the person of each row.
    pub fn one_of_each(&self, all: &[u32], pairs: &[Suspect], people: &[u32]) -> HashSet<u32> {
        let count = all.iter().max().map_or(0, |p| *p as usize + 1);
        let mut sets = Sets::new(count);
        for pair in pairs {
            let (a, b) = (people[pair.a], people[pair.b]);
            if !self.parts(a, b) {
                sets.join(a as usize, b as usize);
            }
        }
        let mut first: HashMap<u32, u32> = HashMap::new();
        for person in all {
            if let Some(cluster) = self.joined.get(*person as usize).copied().flatten() {
                let first = *first.entry(cluster).or_insert(*person);
                sets.join(first as usize, *person as usize);
            }
        }
        all.iter().copied().filter(|p| sets.of(*p as usize) == *p as usize).collect()
    }

    /// Whether they were judged to be different people.
    pub fn parts(&self, a: u32, b: u32) -> bool {
        self.different.contains(&(a.min(b), a.max(b)))
    }
}

/// Photographs of different people that hang together by their similarity.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LikelyDuplicate {
    /// The photographs.
    pub files: Vec<String>,
    /// Pairs of different people among them at or above the limit.
    pub pairs: usize,
    /// Their greatest similarity.
    pub closest: f32,
    /// Their least similarity.
    pub loosest: f32,
}

/// All likely duplicates that nobody has judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LikelyDuplicates {
    /// From this similarity on.
    pub from: f32,
    /// Comparisons at or above it, each counted as a false match.
    pub unjudged: usize,
    /// Comparisons at or above it between people who were judged to be different.
    pub judged_different: usize,
    /// Comparisons, at whatever similarity, between people who were judged to be one person or
    /// twins: left out.
    pub left_out: u64,
    /// The clusters, most alike first.
    pub clusters: Vec<LikelyDuplicate>,
}

impl LikelyDuplicates {
    /// Joins `pairs` of rows to clusters. `left_out` comparisons were not made because of
    /// judgements.
    pub fn new(
        from: f32,
        pairs: &[Suspect],
        left_out: u64,
        judged: &JudgedPeople,
        people: &[u32],
        name: impl Fn(usize) -> String,
    ) -> Self {
        let open: Vec<&Suspect> =
            pairs.iter().filter(|p| !judged.parts(people[p.a], people[p.b])).collect();
        let mut sets = Sets::new(people.len());
        open.iter().for_each(|p| sets.join(p.a, p.b));
        let mut clusters: BTreeMap<usize, (Vec<usize>, LikelyDuplicate)> = BTreeMap::new();
        for pair in &open {
            let (rows, cluster) = clusters.entry(sets.of(pair.a)).or_insert_with(|| {
                let (closest, loosest) = (pair.similarity, pair.similarity);
                (Vec::new(), LikelyDuplicate { files: Vec::new(), pairs: 0, closest, loosest })
            });
            rows.extend([pair.a, pair.b]);
            cluster.pairs += 1;
            cluster.closest = cluster.closest.max(pair.similarity);
            cluster.loosest = cluster.loosest.min(pair.similarity);
        }
        let mut clusters: Vec<LikelyDuplicate> = clusters
            .into_values()
            .map(|(mut rows, cluster)| {
                rows.sort_unstable();
                rows.dedup();
                LikelyDuplicate { files: rows.into_iter().map(&name).collect(), ..cluster }
            })
            .collect();
        clusters
            .sort_by(|a, b| b.closest.total_cmp(&a.closest).then_with(|| a.files.cmp(&b.files)));
        Self {
            from,
            unjudged: open.len(),
            judged_different: pairs.len() - open.len(),
            left_out,
            clusters,
        }
    }
}

/// Disjoint sets of numbers (union by smaller root, path halving).
struct Sets {
    parent: Vec<usize>,
}

impl Sets {
    fn new(count: usize) -> Self {
        Self { parent: (0..count).collect() }
    }

    fn of(&mut self, mut at: usize) -> usize {
        while self.parent[at] != at {
            self.parent[at] = self.parent[self.parent[at]];
            at = self.parent[at];
        }
        at
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.of(a), self.of(b));
        self.parent[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Vec<String> {
        ["ann/1", "ann/2", "bob/1", "cyd/1", "dan/1"].map(str::to_owned).to_vec()
    }

    const PEOPLE: [u32; 5] = [0, 0, 1, 2, 3];

    fn judged(verdict: PairVerdict, of: [&str; 2], left_out: &mut LeftOut) -> JudgedPeople {
        let cluster = JudgedCluster {
            files: of.map(str::to_owned).to_vec(),
            verdict,
            judged_by: "Ann".into(),
            why: "register".into(),
        };
        JudgedPeople::new(&[cluster], &files(), &PEOPLE, left_out)
    }

    #[test]
    fn a_judgement_holds_for_the_people_and_not_only_for_the_photographs() {
        let mut left_out = LeftOut::default();
        let j = judged(PairVerdict::SamePerson, ["ann/2", "bob/1"], &mut left_out);
        assert!(j.joins(0, 1) && j.joins(1, 0) && !j.joins(0, 2) && !j.joins(2, 3));
        let j = judged(PairVerdict::Different, ["ann/2", "bob/1"], &mut left_out);
        assert!(!j.joins(0, 1) && j.parts(1, 0) && !j.parts(0, 2));
        assert!(left_out.is_empty());
        judged(PairVerdict::Twins, ["ann/9", "bob/1"], &mut left_out);
        assert_eq!(left_out.omissions()[0].what, "ann/9");
    }

    #[test]
    fn of_people_who_hang_together_one_stays_however_they_were_joined() {
        let pair = |a, b| Suspect { a, b, similarity: 0.7 };
        let stay = |j: &JudgedPeople, pairs: &[Suspect]| {
            let mut stay: Vec<u32> =
                j.one_of_each(&[0, 1, 2, 3], pairs, &PEOPLE).into_iter().collect();
            stay.sort_unstable();
            stay
        };
        let nobody = JudgedPeople::default();
        assert_eq!(stay(&nobody, &[pair(0, 2), pair(3, 2)]), [0, 3]);
        let mut left_out = LeftOut::default();
        let twins = judged(PairVerdict::Twins, ["bob/1", "dan/1"], &mut left_out);
        assert_eq!(stay(&twins, &[]), [0, 1, 2]);
        assert_eq!(stay(&twins, &[pair(4, 3)]), [0, 1]);
        let different = judged(PairVerdict::Different, ["ann/2", "bob/1"], &mut left_out);
        assert_eq!(stay(&different, &[pair(1, 2)]), [0, 1, 2, 3]);
    }

    #[test]
    fn pairs_that_share_a_photograph_are_one_cluster_and_count_until_somebody_judges_them() {
        let pair = |a, b, similarity| Suspect { a, b, similarity };
        let pairs = [pair(0, 2, 0.7), pair(2, 3, 0.6), pair(1, 4, 0.8)];
        let found = |j: &JudgedPeople| {
            LikelyDuplicates::new(0.55, &pairs, 0, j, &PEOPLE, |row| files()[row].clone())
        };
        let likely = found(&JudgedPeople::default());
        assert_eq!((likely.unjudged, likely.clusters.len()), (3, 2));
        assert_eq!(likely.clusters[0].files, ["ann/2", "dan/1"]);
        assert_eq!(likely.clusters[1].files, ["ann/1", "bob/1", "cyd/1"]);
        assert_eq!((likely.clusters[1].closest, likely.clusters[1].loosest), (0.7, 0.6));
        let likely =
            found(&judged(PairVerdict::Different, ["dan/1", "ann/1"], &mut LeftOut::default()));
        assert_eq!((likely.unjudged, likely.judged_different, likely.clusters.len()), (2, 1, 1));
    }
}
