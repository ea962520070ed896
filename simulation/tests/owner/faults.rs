//! Trouble: what a run does to nodes, log and coordinator.

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};

use affinity_cluster::memory::Fault as CoordinatorFault;
use affinity_log::Log;
use affinity_log::memory::{ChannelId, Fault};
use affinity_types::{Clock, Epoch, Key, Offset, RecordKind};
use bytes::Bytes;

use crate::builds::BUILDS;
use crate::world::{KEYS, LEASE_MS, NODES, World, block};

/// Least age of what is compacted: above the time in which a master that serves repairs.
const REPAIR_MICROS: u64 = 40_000;

impl World {
    pub(crate) fn pause(&mut self) {
        let n = self.random.index(NODES);
        self.nodes[n].paused_until = self.time.micros() + 1000 * self.random.below(3 * LEASE_MS);
        self.trace.note(format_args!("pause of node {n}"));
    }

    /// The process ends; what comes back depends on the disk.
    pub(crate) fn crash(&mut self) {
        let n = self.random.index(NODES);
        self.nodes[n].running = None;
        self.counts.crashes += 1;
        let fate = self.random.below(6);
        if let Some(disk) = &mut self.nodes[n].disk {
            match fate {
                0 => disk.wipe(),
                1 | 2 => self.counts.fell_back += u64::from(disk.fall_back()),
                _ => self.counts.kept += 1,
            }
        }
        if self.random.once_in(3) {
            self.nodes[n].build = (self.nodes[n].build + 1) % BUILDS;
            self.counts.rebuilt += u64::from(self.nodes[n].disk.is_some() && fate > 0);
        }
        self.trace.note(format_args!("crash of node {n}, fate {fate}, build {}", self.nodes[n].build));
        self.start(n);
    }

    /// A node's disk remembers how it is now.
    pub(crate) fn checkpoint(&mut self) {
        let n = self.random.index(NODES);
        if let Some(disk) = &mut self.nodes[n].disk {
            disk.checkpoint();
        }
    }

    /// Kafka compacts only what lies further back than a master needs to see and repair it.
    pub(crate) fn compact(&mut self) {
        let end = self.log.true_bounds(&self.place).unwrap().end;
        let statuses = self.nodes.iter().filter_map(|node| Some((node, node.running.as_ref()?.1.status())));
        let newest =
            statuses.filter(|(_, status)| status.serving.is_some()).max_by_key(|(_, status)| status.serving);
        let Some((_, status)) = newest else { return };
        if status.serving != Some(self.coordinator.entry(&self.name).mastership.epoch)
            || status.next != end
            || status.pending > 0
        {
            return;
        }
        if self.is_unrepaired() {
            // It may have been refused so far: a master gets so much time.
            let now = self.time.micros();
            let (_, since) = *self.unrepaired.insert(match self.unrepaired {
                Some((epoch, since)) if Some(epoch) == status.serving => (epoch, since),
                _ => (status.serving.unwrap_or_default(), now),
            });
            if now < since + REPAIR_MICROS {
                return;
            }
        } else {
            self.unrepaired = None;
        }
        let now = self.nodes[0].clock.now();
        let removed = self.log.compact(&self.place, end, now).unwrap();
        self.trace.note(format_args!("compaction to {end} takes {removed}"));
        self.counts.compacted += removed as u64;
    }

    /// Whether of any key a stale record is the last one.
    fn is_unrepaired(&self) -> bool {
        let mut tail = block(self.log.tail(&self.place, Offset::ZERO)).unwrap();
        let mut highest = Epoch::NONE;
        let mut stale = BTreeMap::new();
        while let Poll::Ready(batch) = tail.poll_batch(&mut Context::from_waker(Waker::noop())) {
            for group in batch.unwrap().groups() {
                let epoch = group.version().epoch;
                highest = highest.max(epoch);
                let data = group.records().filter(|record| record.kind() != RecordKind::Control);
                stale.extend(data.map(|record| (record.key().to_vec(), epoch < highest)));
            }
        }
        stale.into_values().any(|stale| stale)
    }

    fn channel(&mut self) -> Option<ChannelId> {
        let channels = self.log.channels(&self.place);
        if channels.is_empty() { None } else { Some(channels[self.random.index(channels.len())]) }
    }

    /// Groups reach the log, and outcomes their owners.
    pub(crate) fn deliver(&mut self) {
        let Some(channel) = self.channel() else { return };
        let n = 1 + self.random.index(3);
        let landed = self.log.land(channel, n);
        let told = if self.random.once_in(4) { 0 } else { self.log.acknowledge(channel, n) };
        if landed + told > 0 {
            self.trace.note(format_args!("{channel}: {landed} land, {told} are told"));
        }
    }

    pub(crate) fn fault(&mut self) {
        let Some(channel) = self.channel() else { return };
        let which = self.random.below(8);
        self.trace.note(format_args!("{channel} meets fault {which}"));
        match which {
            0 | 1 => self.log.inject(channel, Fault::Refuse),
            2 => self.log.inject(channel, Fault::LoseAppend),
            3 => self.log.inject(channel, Fault::LoseAck),
            4 => self.log.lose(channel),
            5 if self.log.channel(channel).is_some_and(|view| view.abandoned) => {
                self.log.discard(channel);
            }
            _ => {}
        }
    }

    pub(crate) fn coordinator_fault(&mut self) {
        let which = self.random.below(12);
        self.trace.note(format_args!("the coordinator meets fault {which}"));
        match which {
            0 | 1 => self.coordinator.fail_calls(1 + self.random.index(2)),
            2 => self.coordinator.inject(CoordinatorFault::AnswerLost),
            3 => self.coordinator.inject(CoordinatorFault::RequestLost),
            4 => self.coordinator.inject(CoordinatorFault::RequestDelayed),
            5 | 6 => {
                if let Some(late) = self.coordinator.held().first() {
                    self.coordinator.perform(late.id);
                    self.counts.delayed += 1;
                }
            }
            7..=9 => self.coordinator_forgets(which),
            _ => {}
        }
    }

    /// A coordinator that is restored from a backup, or has lost all.
    fn coordinator_forgets(&mut self, how: u64) {
        let Some(backup) = self.backup.clone() else { return };
        match how {
            7 => self.backup = Some(self.coordinator.entry(&self.name)),
            8 => {
                self.counts.restored += 1;
                self.coordinator.restore(&self.name, backup);
            }
            _ if self.random.once_in(3) => {
                self.counts.restored += 1;
                self.coordinator.wipe(&self.name);
            }
            _ => {}
        }
    }

    /// Somebody who knows nothing of epochs writes.
    pub(crate) fn stranger(&mut self) {
        if !self.random.once_in(6) || self.masters.is_empty() {
            return;
        }
        let serving =
            self.nodes.iter().any(|n| n.running.as_ref().is_some_and(|r| r.1.status().serving.is_some()));
        if serving {
            let key = Key::copy_from(format!("k{}", self.random.below(KEYS)).as_bytes());
            let now = self.nodes[0].clock.now();
            self.trace.note(format_args!("a stranger writes {key:?}"));
            self.log.stranger(&self.place, now, key, Some(Bytes::from_static(b"strange!"))).unwrap();
            self.counts.strangers += 1;
        }
    }
}
