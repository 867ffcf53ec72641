// What LANES invocations of a workgroup gather for each item, joined always in the same order. The importer says
// what is gathered, how two partial results are joined, and what is kept.

// begin operands
alias Partial = f32;
const LANES: u32 = 256u;

var<workgroup> shared_partials: array<f32, 256>;

// What one of the LANES invocations finds; nothing where there is no such item.
fn gather(item: u32, lane: u32) -> Partial {
    return f32(item + lane);
}

fn join(a: Partial, b: Partial) -> Partial {
    return a + b;
}

// if: SUBGROUPS
// The partial results of a subgroup's invocations joined.
fn of_subgroup(each: Partial) -> Partial {
    return subgroupAdd(each);
}
// end if

fn write_partial(place: u32, partial: Partial) {
    shared_partials[place] = partial;
}

fn read_partial(place: u32) -> Partial {
    return shared_partials[place];
}

// Called by the first of the LANES invocations; by all where the result is SHARED.
fn keep(item: u32, lane: u32, total: Partial) {
    write_partial(item + lane, total);
}
// end operands

// Whether subgroups join first: of whatever size, as long as none has more than LANES invocations, and all as many.
const SUBGROUPS: bool = false;
// Whether neighbouring invocations gather for neighbouring items instead of for the same.
const COLUMNS: bool = false;
const SHARED: bool = false;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    // if: SUBGROUPS
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_invocation_id) place: u32,
    // end if
) {
    let slots = 256u / LANES;
    var slot = select(index / LANES, index % slots, COLUMNS);
    var lane = select(index % LANES, index / slots, COLUMNS);
    // if: SUBGROUPS
    // By subgroups, whichever invocations a driver puts into one.
    let sharing = subgroups / slots;
    slot = subgroup / sharing;
    lane = subgroup % sharing * (LANES / sharing) + place;
    // end if
    let item = (group.x + group.y * groups.x) * slots + slot;
    var total = gather(item, lane);
    // if: SUBGROUPS
    total = of_subgroup(total);
    if place == 0u {
        write_partial(subgroup, total);
    }
    workgroupBarrier();
    total = read_partial(slot * sharing);
    for (var other = 1u; other < sharing; other++) {
        total = join(total, read_partial(slot * sharing + other));
    }
    // end if
    // if: !SUBGROUPS
    let stride = select(1u, slots, COLUMNS);
    // Two steps of few barriers: 16 invocations join what stands 16 apart, then one joins those.
    if LANES > 1u {
        write_partial(index, total);
        workgroupBarrier();
    }
    if LANES > 16u {
        if lane < 16u {
            for (var other = 16u; other < LANES; other += 16u) {
                total = join(total, read_partial(index + other * stride));
            }
            write_partial(index, total);
        }
        workgroupBarrier();
    }
    if lane == 0u {
        for (var other = 1u; other < min(LANES, 16u); other++) {
            total = join(total, read_partial(index + other * stride));
        }
    }
    if SHARED && LANES > 1u {
        if lane == 0u {
            write_partial(index, total);
        }
        workgroupBarrier();
        total = read_partial(index - lane);
    }
    // end if
    if SHARED || lane == 0u {
        keep(item, lane, total);
    }
}
