/** The members of a cluster, as a user sees and changes them. Every call may be made on any member. */
import { bool, int64, message, repeated, embed, string, uint64 } from "../../base/index.ts";
import type { Infer } from "../../base/index.ts";

export const MemberInfo = message("holdfast.member.MemberInfo", {
  id: uint64(1),
  name: string(2),
  /** Where it is reached; empty while it has been added and has never come. */
  address: string(3),
  zone: string(4),
  /** `voter`, `learner`, or `leaving` in the middle of a change. */
  role: string(5),
  leader: bool(6),
  /** It is the member that answers. */
  self: bool(7),
  /** Entries by which its log is known to be behind the leader's; -1 when the leader does not know. */
  lag: int64(8),
  /** The leader has heard from it lately; the leader hears itself. */
  active: bool(9),
  /** Name of the member that it takes the place of once it has caught up; empty for none. */
  replaces: string(10),
});
export type MemberInfo = Infer<typeof MemberInfo>;

export const MemberList = message("holdfast.member.MemberList", {
  members: repeated(embed(1, MemberInfo)),
  /** The zone that should lead; empty for no preference. */
  leaderZone: string(2),
  /** Of the raft engine: the present term, and the leader's id as this member knows it, 0 for none. */
  term: uint64(3),
  leader: uint64(4),
  /** The cluster's id in hexadecimal; empty when this store is no cluster. */
  cluster: string(5),
  /** Which store it is, in hexadecimal: the same for all members, for good. */
  store: string(6),
});
export type MemberList = Infer<typeof MemberList>;

export interface AddOptions {
  readonly zone?: string;
  /** Name of a member, dead or alive, whose place the new one takes, in one step, when it has caught up. */
  readonly replaces?: string;
  /** Never make it a voter by itself. */
  readonly learner?: boolean;
}

interface Signalled {
  readonly signal?: AbortSignal;
}

/**
 * All changes resolve when they are committed, joint configurations left included; `conflict` while another change is
 * under way; `unavailable` without a majority, with `maybe` when it may still happen; `notFound` for unknown names;
 * `invalid`, saying how to make one, on a store that is no cluster.
 */
export interface Members {
  /** As this member knows them: also works without a majority. A store on one disk has itself. */
  list(options?: Signalled): Promise<MemberList>;
  /**
   * Expects a member of this name, as a learner that nobody waits for. It comes with `holdfast start --name N --join …`,
   * and is made a voter when it has caught up.
   */
  add(name: string, options?: AddOptions & Signalled): Promise<MemberInfo>;
  /** For good: its identity is never used again. The last voter cannot be removed. */
  remove(name: string, options?: Signalled): Promise<void>;
  /** Makes a learner a voter; `conflict` when it has not caught up. */
  promote(name: string, options?: Signalled): Promise<void>;
  /** Hands the leadership to a member, or to the best suited of a zone, which is preferred from now on (`zone: ""` ends that). */
  transfer(to: { readonly name: string } | { readonly zone: string }, options?: Signalled): Promise<void>;
}
