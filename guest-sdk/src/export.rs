//! From the world's exports to [`Workload`], and a panic that says why.

use crate::bindings::stillpoint::workload::types::Failure;
use crate::{Check, Coordinate, Error, Freeze, Plan, Prepare, Report, Thaw, Workload, log};

/// Makes a type that implements [`Workload`] the module. Does nothing natively, where unit tests run.
#[macro_export]
macro_rules! export {
    ($workload:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code)]
        const _: () = {
            use $crate::bindings::exports::stillpoint::workload::lifecycle::Guest;
            use $crate::bindings::stillpoint::workload::types::{Coordinate, Failure, Plan, Report};

            struct Exported;

            impl Guest for Exported {
                fn check(plan: Plan) -> ::std::result::Result<Report, Failure> {
                    $crate::export::check::<$workload>(plan)
                }
                fn prepare(plan: Plan) -> ::std::result::Result<(), Failure> {
                    $crate::export::prepare::<$workload>(plan)
                }
                fn freeze(plan: Plan) -> ::std::result::Result<::std::vec::Vec<Coordinate>, Failure> {
                    $crate::export::freeze::<$workload>(plan)
                }
                fn thaw(plan: Plan) -> ::std::result::Result<(), Failure> {
                    $crate::export::thaw::<$workload>(plan)
                }
            }

    $crate::bindings::export!(Exported with_types_in $crate::bindings);
        };
    };
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { text: error.text, error: error.cause }
    }
}

/// A panic reaches the host only as a trap: this puts its words into the record first.
fn say_why_on_panic() {
    if cfg!(target_arch = "wasm32") {
        std::panic::set_hook(Box::new(|info| log::error(format_args!("panic: {info}"))));
    }
}

/// The export of that name.
///
/// # Errors
/// The workload's.
pub fn check<W: Workload>(plan: Plan) -> Result<Report, Failure> {
    say_why_on_panic();
    let cx = Check::new(plan);
    W::check(&cx)?;
    Ok(cx.into_report())
}

/// The export of that name.
///
/// # Errors
/// The workload's.
pub fn prepare<W: Workload>(plan: Plan) -> Result<(), Failure> {
    say_why_on_panic();
    Ok(W::prepare(&Prepare::new(plan))?)
}

/// The export of that name.
///
/// # Errors
/// The workload's.
pub fn freeze<W: Workload>(plan: Plan) -> Result<Vec<Coordinate>, Failure> {
    say_why_on_panic();
    Ok(W::freeze(&Freeze::new(plan))?.0)
}

/// The export of that name.
///
/// # Errors
/// The workload's.
pub fn thaw<W: Workload>(plan: Plan) -> Result<(), Failure> {
    say_why_on_panic();
    Ok(W::thaw(&Thaw::new(plan))?)
}
