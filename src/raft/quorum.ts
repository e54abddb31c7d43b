/** Arithmetic of majorities, for one set of voters and for the two sets of a joint configuration. */
import type { Configuration, ConfiguredMember, MemberId } from "./configuration.ts";

type Half = (member: ConfiguredMember) => boolean;

const present: Half = ({ voter }) => voter;
const past: Half = ({ outgoing }) => outgoing;

function halves({ joint }: Configuration): readonly Half[] {
  return joint ? [present, past] : [present];
}

/** Whether a majority of the voters (of both sets, if joint) satisfies `holds`. Nobody is no majority. */
export function hasMajority(configuration: Configuration, holds: (id: MemberId) => boolean): boolean {
  return halves(configuration).every((half) => {
    let count = 0;
    let holding = 0;
    for (const member of configuration.members) {
      if (!half(member)) continue;
      count++;
      if (holds(member.id)) holding++;
    }
    return holding * 2 > count;
  });
}

/** The highest number that a majority of the voters has reached (of both sets, if joint). */
export function majorityReached(configuration: Configuration, reached: (id: MemberId) => number): number {
  let lowest = Number.POSITIVE_INFINITY;
  for (const half of halves(configuration)) {
    const numbers = configuration.members.filter(half).map(({ id }) => reached(id));
    numbers.sort((a, b) => b - a);
    lowest = Math.min(lowest, numbers[Math.floor(numbers.length / 2)] ?? 0);
  }
  return lowest;
}

/** How an election stands, given who granted its vote (true) or refused (false). */
export function electionResult(
  configuration: Configuration,
  votes: ReadonlyMap<MemberId, boolean>,
): "won" | "lost" | "open" {
  if (hasMajority(configuration, (id) => votes.get(id) === true)) return "won";
  return hasMajority(configuration, (id) => votes.get(id) !== false) ? "open" : "lost";
}
