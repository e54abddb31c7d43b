/** `raft`: consensus as a pure machine. Events in with `step`, what has to be done out with `ready`. */
export {
  changed,
  completed,
  Configuration,
  ConfiguredMember,
  emptyConfiguration,
  isVoter,
  memberCountMax,
  memberOf,
} from "./configuration.ts";
export type { MemberId, MembershipChange } from "./configuration.ts";
export { hasMajority } from "./quorum.ts";
export { Raft } from "./raft.ts";
export type {
  AppendAnswer,
  AppendMessage,
  Base,
  CampaignMessage,
  Entry,
  HardState,
  HeartbeatAnswer,
  HeartbeatMessage,
  InstallMessage,
  MemberProgress,
  ProposalOutcome,
  RaftEvent,
  RaftLimits,
  RaftMessage,
  RaftOptions,
  RaftStatus,
  RaftWrite,
  ReadOutcome,
  Ready,
  Role,
  VoteAnswer,
  VoteMessage,
} from "./protocol.ts";
