/** How transcripts and failed explorations speak of entries, messages, configurations and machines: short and complete. */
import { utf8Decode } from "../base/index.ts";
import type { Base, Configuration, Entry, HardState, RaftMessage, RaftStatus, RaftWrite } from "./index.ts";

const list = (values: readonly unknown[]): string => values.join(" ");

/** `(1 2 3)`; joint: `(1 2)->(1 3)`; behind it who learns (`4 for 2`: in its place), who has been removed, and the zone. */
export function configurationText(configuration: Configuration): string {
  const { members, joint, removed, leaderZone } = configuration;
  const ids = (wanted: (member: (typeof members)[number]) => boolean) =>
    `(${list(members.filter(wanted).map(({ id }) => id))})`;
  const learners = members
    .filter(({ voter, outgoing }) => !voter && !outgoing)
    .map(({ id, replaces, stays, leaving }) =>
      [String(id), replaces > 0 ? `for ${replaces}` : "", stays ? "stays" : "", leaving ? "leaves" : ""]
        .filter((word) => word !== "")
        .join(" "),
    );
  return [
    joint ? `${ids(({ outgoing }) => outgoing)}->${ids(({ voter }) => voter)}` : ids(({ voter }) => voter),
    learners.length > 0 ? `learns ${learners.join(", ")}` : "",
    removed.length > 0 ? `removed ${list(removed)}` : "",
    leaderZone === "" ? "" : `zone ${leaderZone}`,
  ]
    .filter((part) => part !== "")
    .join(" ");
}

/** `index/term`, then the records, the configuration, or `-` for an entry with neither. */
export function entryText({ index, term, records, configuration }: Entry): string {
  const content =
    configuration === undefined
      ? records.map((record) => JSON.stringify(recordText(record))).join(" ") || "-"
      : configurationText(configuration);
  return `${index}/${term} ${content}`;
}

export const recordText = (record: Uint8Array): string =>
  record.length > 24 ? `${record.length} bytes` : utf8Decode(record);

export const entriesText = (entries: readonly Entry[]): string => entries.map(entryText).join(", ");

export function baseText({ index, term, position, configuration }: Base): string {
  return `${index}/${term} at position ${position} ${configurationText(configuration)}`;
}

const stateText = ({ term, vote, commit }: HardState): string => `term ${term}, vote ${vote}, commit ${commit}`;

export function writeText({ number, reset, entries, state }: RaftWrite): string {
  const parts = [
    reset === undefined ? "" : `log begins behind ${baseText(reset)}`,
    entriesText(entries),
    state === undefined ? "" : stateText(state),
  ];
  return `#${number}: ${parts.filter((part) => part !== "").join("; ")}`;
}

/** Without sender and receiver. */
function contentText(message: RaftMessage): string {
  switch (message.kind) {
    case "vote":
    case "preVote":
      return `last ${message.index}/${message.entryTerm}${message.transfer ? ", by the leader's wish" : ""}`;
    case "voteAnswer":
    case "preVoteAnswer":
      return message.granted ? "granted" : "refused";
    case "append": {
      const entries = message.entries.length > 0 ? `: ${entriesText(message.entries)}` : "";
      return `after ${message.index}/${message.entryTerm}${entries}; commit ${message.commit}`;
    }
    case "appendAnswer":
      return message.accepted
        ? `accepted ${message.index}`
        : `refused ${message.index}, perhaps ${message.hintIndex}/${message.hintTerm}`;
    case "heartbeat":
      return `commit ${message.commit}, round ${message.round}`;
    case "heartbeatAnswer":
      return `round ${message.round}`;
    case "install":
      return `behind ${baseText(message.base)}`;
    case "campaign":
      return "";
  }
}

export function messageText(message: RaftMessage): string {
  return `${message.from}->${message.to} ${message.kind} term ${message.term} ${contentText(message)}`.trimEnd();
}

/** `append->2 3, vote->2`: kinds in the order of their first message. */
export function addresseesText(messages: readonly RaftMessage[]): string {
  const kinds = Map.groupBy(messages, ({ kind }) => kind);
  return [...kinds].map(([kind, group]) => `${kind}->${list(group.map(({ to }) => to))}`).join(", ");
}

export function statusText(status: RaftStatus): string {
  const { role, term, vote, leader, commit, base, lastIndex, lastTerm, durableIndex, transferringTo } = status;
  const words = [
    `${status.self} ${role}`,
    `term ${term}`,
    `vote ${vote}`,
    `leader ${leader}`,
    `commit ${commit}`,
    `log ${base.index}..${lastIndex}/${lastTerm}`,
    durableIndex < lastIndex ? `durable ${durableIndex}` : "",
    configurationText(status.configuration),
    transferringTo === 0 ? "" : `hands over to ${transferringTo}`,
  ];
  return words.filter((word) => word !== "").join(", ");
}

export function progressText({ progress }: RaftStatus): string[] {
  return progress.map(
    ({ member, state, match, next, active }) =>
      `  ${member} ${state}, match ${match}, next ${next}${active ? "" : ", silent"}`,
  );
}
