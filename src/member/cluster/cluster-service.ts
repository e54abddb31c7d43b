/**
 * What members and clients ask each other about the cluster itself: who belongs to it, changes of that, and what happens
 * before a member belongs: the founding and the joining.
 */
import { bool, bytes, embed, message, optional, repeated, string, uint64 } from "../../base/index.ts";
import type { Infer } from "../../base/index.ts";
import { Configuration } from "../../raft/index.ts";
import { contract, unary } from "../../rpc/index.ts";
import { MemberInfo, MemberList } from "./members.ts";

const Empty = message("holdfast.member.Empty", {});

/** `direct` in these requests: answer as the leader or not at all, and ask nobody else. */
const ListRequest = message("holdfast.member.ListRequest", { direct: bool(1) });

const AddRequest = message("holdfast.member.AddRequest", {
  name: string(1),
  zone: string(2),
  /** A member's name; empty for none. */
  replaces: string(3),
  learner: bool(4),
  direct: bool(5),
});

const NamedRequest = message("holdfast.member.NamedRequest", { name: string(1), direct: bool(2) });

const TransferRequest = message("holdfast.member.TransferRequest", {
  /** One of the two. */
  name: optional(string(1)),
  zone: optional(string(2)),
  direct: bool(3),
});

/** What a member says of itself while a cluster is founded. Nothing of it ever changes for one id but address and zone. */
export const Introduction = message("holdfast.member.Introduction", {
  /** 0 for a store that is no member of a cluster and does not want to be. */
  id: uint64(1),
  name: string(2),
  address: string(3),
  zone: string(4),
  /**
   * All the founders that it expects, itself among them, in ascending order of their names; none when it wants to join.
   * While it waits for them as NAME=ADDRESS, so that all have been told the same; else as names.
   */
  peers: repeated(string(5)),
  /** Its directory held a store of its own before: it is to be the cluster's beginning. */
  data: bool(6),
});
export type Introduction = Infer<typeof Introduction>;

export const HelloRequest = message("holdfast.member.HelloRequest", {
  /** Absent from those who only ask. */
  caller: embed(1, Introduction),
});
export type HelloRequest = Infer<typeof HelloRequest>;

export const Hello = message("holdfast.member.Hello", {
  self: embed(1, Introduction),
  /** 16 bytes; none while it belongs to no cluster. The rest is only said where there is a cluster. */
  cluster: bytes(2),
  /** 16 bytes: where the state's tree begins, the same for all members. */
  seed: bytes(3),
  /** The configuration that the cluster was founded with. */
  founding: embed(4, Configuration),
  /** The present configuration, as far as this member knows. */
  present: embed(5, Configuration),
  /** The caller's id has been removed for good: a majority knows it. */
  removed: bool(6),
});
export type Hello = Infer<typeof Hello>;

export const JoinRequest = message("holdfast.member.JoinRequest", {
  id: uint64(1),
  name: string(2),
  address: string(3),
  zone: string(4),
  /** Name of the member whose place it takes; empty for none. */
  replaces: string(5),
  direct: bool(6),
});
export type JoinRequest = Infer<typeof JoinRequest>;

export const JoinAnswer = message("holdfast.member.JoinAnswer", {
  /** As in `Hello`. */
  cluster: bytes(1),
  seed: bytes(2),
  founding: embed(3, Configuration),
  present: embed(4, Configuration),
});
export type JoinAnswer = Infer<typeof JoinAnswer>;

export const ClusterService = contract("holdfast.member.Cluster", {
  list: unary(1, ListRequest, MemberList),
  add: unary(2, AddRequest, MemberInfo),
  remove: unary(3, NamedRequest, Empty),
  promote: unary(4, NamedRequest, Empty),
  transfer: unary(5, TransferRequest, Empty),
  hello: unary(6, HelloRequest, Hello),
  /** Makes the caller a learner of the cluster. May be repeated: one id joins once. */
  join: unary(7, JoinRequest, JoinAnswer),
});
