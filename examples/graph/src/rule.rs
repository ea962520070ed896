//! The rules that the algorithm stands on, by name: tests take them away one by one, to show that each is needed.

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A vertex believes who held it after more moves, not who spoke last.
    Moves,
    /// A vertex tells a new component of changes that it missed.
    CatchUp,
    /// A component believes the report of a later version, not the one that came last.
    Version,
    /// A component that loses an edge looks for what is not connected with it any more.
    Recompute,
    /// A component looks at what it takes up, too: it may not be connected with it, or no longer.
    Judge,
    /// An edge that one end tells of holds both together, until the other end's report of it is there or both have taken it back.
    EitherEnd,
    /// A component that takes up vertices lets them tell their neighbours elsewhere.
    Meet,
    /// A component that hears of a new edge lets the vertex tell the neighbour elsewhere.
    MeetNew,
}
