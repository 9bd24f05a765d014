//! The unit of CPUs with AMX: `tdpbf16ps` adds the product of two tiles of bf16, 16 rows of 32 numbers and 32 of 16, to
//! 16 × 16 sums in f32 (Intel, "Architecture Instruction Set Extensions Programming Reference", chapter 3).
//!
//! The tile registers are state of the thread; Linux gives a process leave to use them once. The compiler does not know
//! them yet, so that a whole tile of the result is one block of assembly.

use super::panels::{self, LANES, Tile, Unit, WIDTH};
use std::{arch::asm, sync::OnceLock};

/// Four registers of sums: 32 rows, 32 columns.
const ROWS: usize = 32;
/// Bytes of a row in a register.
const ROW_BYTES: u16 = 64;

/// The CPU has it, and the process may use it.
pub fn is_there() -> bool {
    static IS_THERE: OnceLock<bool> = OnceLock::new();
    *IS_THERE.get_or_init(|| panels::is_there() && is_in_cpu() && is_allowed())
}

fn is_in_cpu() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    const BOTH: u32 = AMX_BF16 | AMX_TILE;
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & BOTH == BOTH
}

/// Asks Linux for leave to use the registers, for all threads. It refuses where it does not know them.
#[cfg(target_os = "linux")]
fn is_allowed() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: changes what the process may do and nothing else.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn is_allowed() -> bool {
    false
}

pub struct Amx;

/// What `ldtilecfg` reads: each register has 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static SHAPES: Shapes = Shapes {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [
        ROW_BYTES, ROW_BYTES, ROW_BYTES, ROW_BYTES, ROW_BYTES, ROW_BYTES, ROW_BYTES, ROW_BYTES, 0, 0, 0, 0,
        0, 0, 0, 0,
    ],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

impl Unit for Amx {
    const ROWS: usize = ROWS;
    const WHOLE_ROWS: usize = ROWS;
    const WHOLE_PAIRS: usize = LANES;

    fn begin() {
        assert!(is_there(), "the CPU has AMX");
        // SAFETY: the CPU has the instruction and the process may use it.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const SHAPES, options(nostack, readonly)) }
    }

    fn end() {
        // SAFETY: as above.
        unsafe { asm!("tilerelease", options(nostack, nomem)) }
    }

    /// A tile that sticks out goes through a copy, so that each number has the same bits wherever it stands.
    unsafe fn tile(tile: &Tile<'_>, n_rows: usize, y: *mut f32) {
        // SAFETY: the caller's; the copy holds a whole tile.
        unsafe {
            if n_rows == ROWS && tile.width == WIDTH {
                return sum(tile, y, tile.out);
            }
            let mut edge = [0.0f32; ROWS * WIDTH];
            if tile.add {
                for (row, edge) in edge.chunks_exact_mut(WIDTH).take(n_rows).enumerate() {
                    let y = y.add(row * tile.out);
                    y.copy_to_nonoverlapping(edge.as_mut_ptr(), tile.width);
                }
            }
            sum(tile, edge.as_mut_ptr(), WIDTH);
            for (row, edge) in edge.chunks_exact(WIDTH).take(n_rows).enumerate() {
                let y = y.add(row * tile.out);
                y.copy_from_nonoverlapping(edge.as_ptr(), tile.width);
            }
        }
    }
}

/// # Safety
/// The thread is ready; `y` holds 32 rows of 32 numbers, `stride` apart, which may be written.
unsafe fn sum(tile: &Tile<'_>, y: *mut f32, stride: usize) {
    let n_steps = tile.packed.len() / (LANES * WIDTH);
    let n_pairs = n_steps * LANES;
    assert!(
        n_steps > 0 && tile.packed.len() == n_pairs * WIDTH,
        "whole registers of the weight"
    );
    assert!(
        tile.x.len() >= (ROWS - 1) * tile.stride + n_pairs,
        "whole registers of the activations"
    );
    let x = tile.x.as_ptr();
    let lower_y = y.wrapping_add(LANES * stride);
    // SAFETY: checked above, and the caller's. Registers 0 to 3 are the sums, 4 and 5 hold rows of the activations, 6 and 7
    // columns of the weight, 16 pairs of each; a step goes 64 bytes on in a row and 16 rows of 128 bytes on in the panel.
    unsafe {
        asm!(
            "test {add:l}, {add:l}",
            "jnz 2f",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "jmp 3f",
            "2:",
            "tileloadd tmm0, [{y} + {y_stride}]",
            "tileloadd tmm1, [{y} + {y_stride} + 64]",
            "tileloadd tmm2, [{lower_y} + {y_stride}]",
            "tileloadd tmm3, [{lower_y} + {y_stride} + 64]",
            "3:",
            "tileloadd tmm4, [{x} + {x_stride}]",
            "tileloadd tmm6, [{w} + {w_stride}]",
            "tileloadd tmm7, [{w} + {w_stride} + 64]",
            "tileloadd tmm5, [{lower_x} + {x_stride}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {x}, 64",
            "add {lower_x}, 64",
            "add {w}, 2048",
            "dec {n_steps}",
            "jnz 3b",
            "tilestored [{y} + {y_stride}], tmm0",
            "tilestored [{y} + {y_stride} + 64], tmm1",
            "tilestored [{lower_y} + {y_stride}], tmm2",
            "tilestored [{lower_y} + {y_stride} + 64], tmm3",
            add = in(reg) usize::from(tile.add),
            x = inout(reg) x => _,
            lower_x = inout(reg) x.add(LANES * tile.stride) => _,
            x_stride = in(reg) 4 * tile.stride,
            w = inout(reg) tile.packed.as_ptr() => _,
            w_stride = in(reg) 4 * WIDTH,
            y = in(reg) y,
            lower_y = in(reg) lower_y,
            y_stride = in(reg) 4 * stride,
            n_steps = inout(reg) n_steps => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
