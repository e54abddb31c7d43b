/** What members of a replicated log say to each other, as messages of the codec. */
import { bool, bytes, embed, emptyBytes, enumeration, message, repeated, string, uint64 } from "../../base/index.ts";
import type { Infer } from "../../base/index.ts";
import { Configuration, ConfiguredMember } from "../../raft/index.ts";
import type { Base, Entry, MembershipChange, RaftMessage } from "../../raft/index.ts";
import { contract, unary, clientStream } from "../../rpc/index.ts";

const WireEntry = message("holdfast.log.Entry", {
  index: uint64(1),
  term: uint64(2),
  position: uint64(3),
  records: repeated(bytes(4)),
  configuration: embed(5, Configuration),
});

const WireBase = message("holdfast.log.Base", {
  index: uint64(1),
  term: uint64(2),
  position: uint64(3),
  configuration: embed(4, Configuration),
});

const kinds = {
  vote: 0,
  preVote: 1,
  voteAnswer: 2,
  preVoteAnswer: 3,
  append: 4,
  appendAnswer: 5,
  heartbeat: 6,
  heartbeatAnswer: 7,
  install: 8,
  campaign: 9,
} as const;

/** All kinds of messages in one: fields that a kind does not have are at their default. */
const WireMessage = message("holdfast.log.RaftMessage", {
  kind: enumeration(1, kinds),
  term: uint64(2),
  index: uint64(3),
  entryTerm: uint64(4),
  commit: uint64(5),
  round: uint64(6),
  /** `granted` or `accepted`. */
  agreed: bool(7),
  transfer: bool(8),
  hintIndex: uint64(9),
  hintTerm: uint64(10),
  entries: repeated(embed(11, WireEntry)),
  base: embed(12, WireBase),
});
type WireMessage = Infer<typeof WireMessage>;

/** The first on a stream says who talks to whom and has no messages. */
export const RaftEnvelope = message("holdfast.log.RaftEnvelope", {
  cluster: bytes(1),
  from: uint64(2),
  to: uint64(3),
  messages: repeated(embed(4, WireMessage)),
  /** Where the sender is reached, if it knows: a member that is new does not know who the others are. */
  address: string(5),
  /** A number that the sender drew when it started: another one means that connections to it from before are dead. */
  incarnation: uint64(6),
});

const Destination = { cluster: bytes(1), to: uint64(2) };
const AppendRequest = message("holdfast.log.AppendRequest", { ...Destination, records: repeated(bytes(3)) });
const AppendResponse = message("holdfast.log.AppendResponse", {
  /** Where the last of the records will be, if that entry keeps its term; and the position of the first. */
  term: uint64(1),
  index: uint64(2),
  position: uint64(3),
});
const TailRequest = message("holdfast.log.TailRequest", Destination);
const TailResponse = message("holdfast.log.TailResponse", { position: uint64(1) });
const ChangeRequest = message("holdfast.log.ChangeRequest", {
  ...Destination,
  put: repeated(embed(3, ConfiguredMember)),
  remove: repeated(uint64(4)),
  setLeaderZone: bool(5),
  leaderZone: string(6),
});
const TransferRequest = message("holdfast.log.TransferRequest", { ...Destination, target: uint64(3) });
const Empty = message("holdfast.log.Empty", {});

/** Members of a replicated log call this of each other. All but `messages` is asked of the leader. */
export const RaftService = contract("holdfast.log.Raft", {
  messages: clientStream(1, RaftEnvelope, Empty),
  /** Answers when the records are in the leader's log, not yet committed. */
  append: unary(2, AppendRequest, AppendResponse),
  tail: unary(3, TailRequest, TailResponse),
  changeMembership: unary(4, ChangeRequest, Empty),
  transfer: unary(5, TransferRequest, Empty),
});

export function toWire(one: RaftMessage): Partial<WireMessage> & Pick<WireMessage, "kind" | "term"> {
  switch (one.kind) {
    case "voteAnswer":
    case "preVoteAnswer":
      return { kind: one.kind, term: one.term, agreed: one.granted };
    case "appendAnswer": {
      const { kind, term, accepted: agreed, index, hintIndex, hintTerm } = one;
      return { kind, term, agreed, index, hintIndex, hintTerm };
    }
    case "append": {
      const { kind, term, index, entryTerm, commit, entries } = one;
      return { kind, term, index, entryTerm, commit, entries: entries.map(toWireEntry) };
    }
    default:
      return one;
  }
}

function toWireEntry({ index, term, position, records, configuration }: Entry): Infer<typeof WireEntry> {
  return { index, term, position, records, configuration };
}

function fromWireEntry(wire: Infer<typeof WireEntry>): Entry {
  let size = 0;
  for (const record of wire.records) size += record.length;
  return { ...wire, size };
}

function fromWireBase(wire: Infer<typeof WireBase>): Base {
  const { configuration = { members: [], joint: false, removed: [], leaderZone: "" } } = wire;
  return { ...wire, configuration };
}

export function fromWire(wire: WireMessage, from: number, to: number): RaftMessage {
  const { kind, term, index, entryTerm, commit, round, agreed, transfer, hintIndex, hintTerm } = wire;
  const envelope = { from, to, term };
  switch (kind) {
    case "vote":
    case "preVote":
      return { ...envelope, kind, index, entryTerm, transfer };
    case "voteAnswer":
    case "preVoteAnswer":
      return { ...envelope, kind, granted: agreed };
    case "append":
      return { ...envelope, kind, index, entryTerm, commit, entries: wire.entries.map(fromWireEntry) };
    case "appendAnswer":
      return { ...envelope, kind, accepted: agreed, index, hintIndex, hintTerm };
    case "heartbeat":
      return { ...envelope, kind, commit, round };
    case "heartbeatAnswer":
      return { ...envelope, kind, round };
    case "install":
      return { ...envelope, kind, base: fromWireBase(wire.base ?? WireBase.decode(emptyBytes)) };
    case "campaign":
      return { ...envelope, kind };
  }
}

export function toWireChange({ put = [], remove = [], leaderZone }: MembershipChange) {
  const members = put.map((member) => ({ ...member, outgoing: false, leaving: false }));
  return { put: members, remove: [...remove], setLeaderZone: leaderZone !== undefined, leaderZone: leaderZone ?? "" };
}

export function fromWireChange(wire: Infer<typeof ChangeRequest>): MembershipChange {
  const { put, remove, setLeaderZone, leaderZone } = wire;
  return { put, remove, ...(setLeaderZone && { leaderZone }) };
}
