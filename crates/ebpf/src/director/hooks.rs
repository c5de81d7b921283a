//! How the stages' functions become methods of the tables: what is meant here by a name stands in [`crate::tables`].

/// Stages under both hooks, each a function of its own for either.
macro_rules! stages {
    ($($name:ident: $under_xdp:ident, $under_tc:ident $(($look:ident))?;)*) => {$(
        #[inline(always)]
        fn $name<P: Packet>(&self, _packet: &mut P) -> Outcome {
            outcome(if XDP {
                stage::$under_xdp(self.context.cast())
            } else {
                stage::$under_tc(self.context.cast() $(, u32::from(self.$look))?)
            })
        }
    )*};
}

/// Stages under TC alone, to which XDP has handed over before.
macro_rules! under_tc {
    ($($name:ident: $under_tc:ident $(($look:ident))?;)*) => {$(
        #[inline(always)]
        fn $name<P: Packet>(&self, _packet: &mut P) -> Outcome {
            if XDP {
                return Outcome::Inconsistent;
            }
            outcome(stage::$under_tc(self.context.cast() $(, u32::from(self.$look))?))
        }
    )*};
}

pub(crate) use {stages, under_tc};
