//! The end of a run: everything works again, and what there is must be what can have been.

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};

use affinity_keyspace::Control;
use affinity_log::Log;
use affinity_log::memory::{Delivery, Fencing};
use affinity_memstore::StoreId;
use affinity_types::{Clock, Epoch, Offset, Sequence, Version};
use tokio::sync::oneshot;

use crate::builds::run_as;
use crate::clients::Client;
use crate::counts::Counts;
use crate::lists::Seen;
use crate::watching::Watching;
use crate::world::{CLIENTS, KEYS, NODES, World, block};

impl World {
    /// Everything works again: what was asked is answered, and the history must be one that can have been.
    pub(crate) fn finish(mut self) -> Counts {
        self.log.deliver(Delivery::Automatic);
        for node in &mut self.nodes {
            node.paused_until = 0;
        }
        let leader = self.leader();
        self.trace.note(format_args!("everything works, node {leader} is to lead"));
        for round in 0..2000 {
            if round % 200 == 0 && !self.serves(leader) {
                // It may serve under an epoch after which another was won and never begun: take over once more.
                let handle = self.nodes[leader].running.as_ref().unwrap().1.clone();
                handle.order(Control::Demote);
                handle.order(Control::Promote);
            }
            self.settle();
            if self.scanning.is_some() {
                self.scan();
            }
            let busy = self.clients.iter().any(Client::waits);
            if !busy && self.serves(leader) && round > 100 {
                break;
            }
            for c in 0..CLIENTS {
                if self.clients[c].waits() {
                    self.client(c);
                }
            }
        }
        assert!(
            self.serves(leader),
            "nobody serves at last: {:?}",
            self.nodes[leader].running.as_ref().unwrap().1.status()
        );
        let highest = self.masters.keys().next_back().copied();
        let serving = self.nodes[leader].running.as_ref().unwrap().1.status().serving;
        assert_eq!(serving, highest, "the last epoch is not the highest");
        let at_last = self.read_all(leader);
        // Who was master before notices it by the no-op that it sends when it is idle.
        (0..60).for_each(|_| self.settle());
        self.check_watches(leader, &at_last);
        self.check_entries(leader, &at_last);
        self.history.check(&at_last);
        self.check_echoes(leader, &at_last);
        self.check_heard(&at_last);
        self.check_times();
        self.compare_standbys();
        self.begin_anew(leader);
        self.counts
    }

    /// Within an epoch, time does not go back in the log.
    fn check_times(&self) {
        let mut tail = block(self.log.tail(&self.place, Offset::ZERO)).unwrap();
        let mut latest = BTreeMap::new();
        while let Poll::Ready(batch) = tail.poll_batch(&mut Context::from_waker(Waker::noop())) {
            let batch = batch.unwrap();
            // Those of no epoch are a stranger's.
            for group in batch.groups().filter(|group| group.version().epoch > Epoch::NONE) {
                let Version { epoch, sequence } = group.version();
                // A restored coordinator gave the epoch to another as well: one of its barriers is of who never leads, and compaction
                // may have taken the other.
                if sequence == Sequence::FIRST {
                    continue;
                }
                let before = latest.insert(epoch, group.time());
                assert!(
                    before <= Some(group.time()),
                    "time goes back to {}, at {}",
                    group.time(),
                    group.base()
                );
            }
        }
    }

    /// What the log is after compaction makes the same of nothing as it did of those who read all of it.
    fn begin_anew(&mut self, leader: usize) {
        let end = self.log.true_bounds(&self.place).unwrap().end;
        self.log.compact(&self.place, end, self.nodes[0].clock.now()).unwrap();
        let n = (leader + 1) % NODES;
        self.nodes[n].running = None;
        if let Some(disk) = &mut self.nodes[n].disk {
            disk.wipe();
        }
        self.start(n);
        (0..60).for_each(|_| self.settle());
        self.compare_standbys();
    }

    /// Who is to serve at last: a node that does, or any.
    fn leader(&mut self) -> usize {
        let any = self.random.index(NODES);
        let serving = (0..NODES).find(|n| self.serves(*n));
        serving.filter(|_| self.random.once_in(2)).unwrap_or(any)
    }

    pub(crate) fn settle(&mut self) {
        self.time.advance_ms(3);
        (0..NODES).for_each(|n| self.poll(n));
    }

    fn serves(&self, n: usize) -> bool {
        let epoch = self.coordinator.entry(&self.name).mastership.epoch;
        self.nodes[n].running.as_ref().is_some_and(|(_, handle)| handle.status().serving == Some(epoch))
    }

    fn read_all(&mut self, leader: usize) -> BTreeMap<String, Seen> {
        let mut trails = BTreeMap::new();
        for key in (0..KEYS).map(|k| format!("k{k}")) {
            let (send, mut reply) = oneshot::channel();
            let (_, handle) = self.nodes[leader].running.as_ref().unwrap();
            handle.query(key.clone(), None, send).unwrap();
            let mut seen = None;
            for _ in 0..200 {
                self.settle();
                if let Ok(answer) = reply.try_recv() {
                    seen =
                        Some(answer.unwrap_or_else(|failure| panic!("reading {key} at last: {failure:?}")));
                    break;
                }
            }
            trails.insert(key.clone(), seen.unwrap_or_else(|| panic!("{key} is not answered at last")));
        }
        trails
    }

    /// Who still watches was told how the list is at last, and nobody tells anything but the leader.
    fn check_watches(&mut self, leader: usize, at_last: &BTreeMap<String, Seen>) {
        for c in 0..CLIENTS {
            self.look(c);
            let Some(watching) = self.clients[c].watch.as_ref().filter(|watching| watching.lives()) else {
                continue;
            };
            let Watching { node, log, .. } = watching;
            assert_eq!(*node, leader, "it is not told that it ended: {log:?}");
            let Seen { trail, version, .. } = &at_last[&log.key];
            let (list, told) = log.last().expect("a watch begins with a value");
            if log.fresh {
                assert_eq!(*list, None, "that it expired did not come: {log:?}");
                continue;
            }
            assert_eq!(*list, trail.list(), "the newest did not come: {log:?}");
            assert!(version.is_none_or(|version| version == told), "{version:?} did not come: {log:?}");
            self.counts.watched_to_the_end += 1;
        }
        (0..CLIENTS).for_each(|c| self.stop_watching(c));
    }

    /// Nobody heard what is not in the log, or heard it out of order.
    fn check_heard(&mut self, at_last: &BTreeMap<String, Seen>) {
        let heard = self.heard.lock().unwrap();
        assert_eq!(heard.wrong, None);
        for (key, trail) in &heard.trails {
            assert!(at_last[key].trail.0.starts_with(&trail.0), "{key}: {trail:?} was heard and is not so");
        }
        self.counts.heard += heard.trails.len() as u64;
    }

    /// At equal offset, state is equal, and indices are what their functions make of it.
    fn compare_standbys(&mut self) {
        (0..50).for_each(|_| self.settle());
        for n in &self.nodes {
            run_as(n.build);
            let verified = n.running.as_ref().unwrap().0.verify_indices().unwrap();
            self.counts.indexed += verified.unwrap_or_else(|wrong| panic!("node {}: {wrong}", n.id)) as u64;
        }
        let dumps: Vec<_> = self
            .nodes
            .iter()
            .map(|n| n.running.as_ref().unwrap())
            .map(|(owner, ..)| {
                let ((next, entries), due) = (owner.dump().unwrap(), owner.dump_due().unwrap());
                (next, (entries, due))
            })
            .collect();
        let newest = dumps.iter().map(|(next, _)| *next).max().unwrap();
        let equal: Vec<_> = dumps.iter().filter(|(next, _)| *next == newest).collect();
        assert!(equal.windows(2).all(|pair| pair[0].1 == pair[1].1), "state differs at offset {newest}");
        // By now everything that can expire has, and is deleted, with what said when.
        let (entries, due) = &equal[0].1;
        let left = entries.iter().find(|(store, ..)| *store == StoreId(2));
        assert_eq!((left, &due[..]), (None, &[][..]), "it has not expired at offset {newest}");
        assert!(newest > Offset::ZERO || self.fencing == Fencing::Off);
    }
}
