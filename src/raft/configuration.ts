/**
 * Who takes part, and how one set of members becomes another: joint consensus (Ongaro and Ousterhout, "In Search of an
 * Understandable Consensus Algorithm", 2014, section 6), any set to any set in one change.
 *
 * A configuration counts from the moment its entry is in the log, committed or not. While it is joint, every decision
 * needs a majority of the old voters and a majority of the new ones.
 */
import { assert, bool, embed, HoldfastError, message, repeated, string, uint64 } from "../base/index.ts";
import type { Infer } from "../base/index.ts";

/** Chosen at random once for each data directory; never used again, whatever becomes of the directory. */
export type MemberId = number;

export const ConfiguredMember = message("holdfast.raft.Member", {
  id: uint64(1),
  /** Unique among the members; for people. */
  name: string(2),
  /** Where the other members and clients reach it; empty while it is only expected. */
  address: string(3),
  /** Members in one zone are expected to fail together; may be empty. */
  zone: string(4),
  /** Votes in the present configuration; in a joint one, in the new half of it. A member that votes in no half learns. */
  voter: bool(5),
  /** In a joint configuration: votes in the old half. */
  outgoing: bool(6),
  /** In a joint configuration: goes when the change is complete. */
  leaving: bool(7),
  /** A learner that takes the place of this member when it has caught up; 0 for none. */
  replaces: uint64(8),
  /** A learner that is not to be made a voter by itself. */
  stays: bool(9),
});
export type ConfiguredMember = Infer<typeof ConfiguredMember>;

export const Configuration = message("holdfast.raft.Configuration", {
  /** In ascending order of their ids. */
  members: repeated(embed(1, ConfiguredMember)),
  joint: bool(2),
  /** Ids of members that have been removed, in ascending order: they never come back. */
  removed: repeated(uint64(3)),
  /** The leader should be a member of this zone; empty for no preference. */
  leaderZone: string(4),
});
export type Configuration = Infer<typeof Configuration>;

export const emptyConfiguration: Configuration = { members: [], joint: false, removed: [], leaderZone: "" };

/** What a configuration is to become. Members that are not named stay as they are. */
export interface MembershipChange {
  /** Members to add, or to replace by id: `voter` says what they shall be. */
  readonly put?: readonly Pick<ConfiguredMember, "id" | "name" | "address" | "zone" | "voter" | "replaces" | "stays">[];
  readonly remove?: readonly MemberId[];
  readonly leaderZone?: string;
}

/** The largest number of members, learners included. */
export const memberCountMax = 31;

export function memberOf(configuration: Configuration, id: MemberId): ConfiguredMember | undefined {
  return configuration.members.find((member) => member.id === id);
}

/** Votes in either half. */
export function isVoter({ voter, outgoing }: ConfiguredMember): boolean {
  return voter || outgoing;
}

/**
 * The configuration to propose for a change: joint if the voters change, else final. `invalid` or `exists` when the change
 * makes no sense.
 */
export function changed(before: Configuration, change: MembershipChange): Configuration {
  assert(!before.joint, "one change at a time");
  const { put = [], remove = [] } = change;
  const members = new Map(before.members.map((member) => [member.id, member]));
  for (const wanted of put) {
    if (!(Number.isSafeInteger(wanted.id) && wanted.id > 0)) {
      throw new HoldfastError("invalid", `${wanted.id} is no member id; ids are whole numbers above 0`);
    }
    if (before.removed.includes(wanted.id)) {
      throw new HoldfastError("denied", `member ${wanted.id} was removed; a member never comes back under its id`);
    }
    members.set(wanted.id, { ...wanted, outgoing: false, leaving: false });
  }
  for (const id of remove) {
    if (!members.delete(id)) throw new HoldfastError("notFound", `there is no member ${id}`);
  }
  const leaderZone = change.leaderZone ?? before.leaderZone;
  const removed = [...new Set([...before.removed, ...remove])].toSorted((a, b) => a - b);
  const after = { members: inOrder(members.values()), joint: false, removed, leaderZone };
  checkConfiguration(after);
  if (sameVoters(before, after)) return after;
  const joint = after.members.map((member) => ({ ...member, outgoing: memberOf(before, member.id)?.voter === true }));
  for (const member of before.members) {
    if (!members.has(member.id)) {
      joint.push({ ...member, voter: false, outgoing: member.voter, leaving: true, replaces: 0 });
    }
  }
  // Those that leave are removed when they have left.
  return { members: inOrder(joint), joint: true, removed: before.removed, leaderZone };
}

/** The new half of a joint configuration, to be proposed as soon as the joint one is committed. */
export function completed(joint: Configuration): Configuration {
  assert(joint.joint, "only a joint configuration is completed");
  const left = joint.members.filter(({ leaving }) => leaving).map(({ id }) => id);
  const members = joint.members.filter(({ leaving }) => !leaving).map((member) => ({ ...member, outgoing: false }));
  const removed = [...new Set([...joint.removed, ...left])].toSorted((a, b) => a - b);
  return { members, joint: false, removed, leaderZone: joint.leaderZone };
}

function inOrder(members: Iterable<ConfiguredMember>): ConfiguredMember[] {
  return [...members].toSorted((a, b) => a.id - b.id);
}

function sameVoters(before: Configuration, after: Configuration): boolean {
  const ids = ({ members }: Configuration) => members.filter(({ voter }) => voter).map(({ id }) => id);
  return ids(before).join() === ids(after).join();
}

function checkConfiguration({ members }: Configuration): void {
  if (!members.some(({ voter }) => voter)) throw new HoldfastError("invalid", "a cluster needs at least one voter");
  if (members.length > memberCountMax) {
    throw new HoldfastError("invalid", `a cluster of ${members.length} members; the limit is ${memberCountMax}`);
  }
  const names = new Set<string>();
  for (const { name } of members) {
    if (names.has(name)) throw new HoldfastError("exists", `two members are named ${name}; choose another name`);
    names.add(name);
  }
}
