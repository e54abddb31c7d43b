/**
 * The members of a cluster, from the raft engine of one of them.
 *
 * Names are for people, ids for the engine: names are resolved on the leader, whose configuration is the newest. So every
 * change is made on the leader; the other members pass it on, marked `direct`, so that it takes one step and not a circle
 * while two members take each other for the leader.
 */
import { HoldfastError, sleep, toHex } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import { isVoter, memberOf } from "../../raft/index.ts";
import type { Configuration, ConfiguredMember, MemberId, MembershipChange, RaftStatus } from "../../raft/index.ts";
import type { Stub } from "../../rpc/index.ts";
import { storeIdOf } from "../store-id.ts";
import { ClusterService } from "./cluster-service.ts";
import type { JoinAnswer, JoinRequest } from "./cluster-service.ts";
import { checkMemberName, newMemberId } from "./identity.ts";
import type { Identity } from "./identity.ts";
import type { AddOptions, MemberInfo, MemberList, Members } from "./members.ts";
import type { PeerClients } from "./peer-clients.ts";
import { nameInUse, wasRemoved } from "./refusals.ts";

/** What membership needs of the raft engine. */
export interface MembershipEngine {
  configuration(): Configuration;
  status(): RaftStatus;
  changeMembership(change: MembershipChange, signal?: AbortSignal): Promise<void>;
  transfer(to: MemberId, signal?: AbortSignal): Promise<void>;
  /** On a leader: whether a learner would keep up as a voter. */
  isCaughtUp(member: MemberId): boolean;
}

interface CallOptions {
  /** Only if this member leads. */
  readonly direct?: boolean;
  readonly signal?: AbortSignal;
}

type Put = NonNullable<MembershipChange["put"]>[number];
type ClusterStub = Stub<(typeof ClusterService)["methods"]>;

/** How long a change waits for a leader. */
const leaderWaitMs = 3_000;
const leaderPollMs = 50;
/** How long a change may take in all: a little less than clients wait, so that they are told why. */
const changeTimeoutMs = 9_000;
/** How long a follower waits for what only the leader knows of the others. */
const listTimeoutMs = 500;

export class ClusterMembers implements Members {
  readonly #env: Env;
  readonly #engine: MembershipEngine;
  readonly #clients: PeerClients;
  readonly #identity: Identity;
  readonly #storeId: string;

  constructor(env: Env, engine: MembershipEngine, clients: PeerClients, identity: Identity) {
    this.#env = env;
    this.#engine = engine;
    this.#clients = clients;
    this.#identity = identity;
    this.#storeId = storeIdOf(env, identity.seed);
  }

  /** The cluster's id in hexadecimal. */
  get cluster(): string {
    return toHex(this.#identity.cluster);
  }

  async list(options: CallOptions = {}): Promise<MemberList> {
    const { role, leader } = this.#engine.status();
    const address = memberOf(this.#engine.configuration(), leader)?.address ?? "";
    if (role === "leader" || options.direct === true || address === "" || leader === this.#identity.id) {
      return this.#listHere();
    }
    try {
      const call = { timeoutMs: listTimeoutMs, ...(options.signal !== undefined && { signal: options.signal }) };
      const list = await this.#clients.at(address).use(ClusterService).list({ direct: true }, call);
      const own = this.#identity.id;
      // A member that was the leader a moment ago knows no more than this one.
      if (list.leader !== 0)
        return { ...list, members: list.members.map((info) => ({ ...info, self: info.id === own })) };
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
    }
    return this.#listHere();
  }

  #listHere(): MemberList {
    const configuration = this.#engine.configuration();
    const status = this.#engine.status();
    const members = configuration.members.map((member) => this.#info(member, configuration, status));
    const { leaderZone } = configuration;
    return {
      members,
      leaderZone,
      term: status.term,
      leader: status.leader,
      cluster: this.cluster,
      store: this.#storeId,
    };
  }

  #info(member: ConfiguredMember, configuration: Configuration, status: RaftStatus): MemberInfo {
    const { id, name, address, zone } = member;
    const self = id === this.#identity.id;
    const progress = status.progress.find((other) => other.member === id);
    const leads = self && status.role === "leader";
    return {
      id,
      name,
      address,
      zone,
      role: member.leaving ? "leaving" : isVoter(member) ? "voter" : "learner",
      leader: id === status.leader,
      self,
      lag: leads ? 0 : progress === undefined || address === "" ? -1 : Math.max(0, status.lastIndex - progress.match),
      active: leads || progress?.active === true,
      replaces: memberOf(configuration, member.replaces)?.name ?? "",
    };
  }

  add(name: string, options: AddOptions & CallOptions = {}): Promise<MemberInfo> {
    const { zone = "", replaces = "", learner = false } = options;
    return this.#onLeader(
      options,
      (signal) => this.#reserve(name, { zone, replaces, learner }, signal),
      (stub, call) => stub.add({ name, zone, replaces, learner, direct: true }, call),
    );
  }

  async #reserve(name: string, wanted: Required<AddOptions>, signal: AbortSignal | undefined): Promise<MemberInfo> {
    checkMemberName(name);
    const { zone, replaces, learner: stays } = wanted;
    const same = this.#byName(name);
    if (same?.address === "") {
      throw new HoldfastError(
        "exists",
        `member ${name} is expected already: start it with \`holdfast start --name ${name} --join …\``,
      );
    }
    if (same !== undefined) throw nameInUse(name);
    const id = newMemberId(this.#env.random);
    await this.#change(
      { put: [{ id, name, address: "", zone, voter: false, replaces: this.#idOf(replaces), stays }] },
      signal,
    );
    const member = memberOf(this.#engine.configuration(), id);
    if (member === undefined) throw new HoldfastError("notFound", `member ${name} has been removed again meanwhile`);
    return this.#info(member, this.#engine.configuration(), this.#engine.status());
  }

  async remove(name: string, options: CallOptions = {}): Promise<void> {
    await this.#onLeader(
      options,
      (signal) => this.#change({ remove: [this.#named(name).id] }, signal),
      (stub, call) => stub.remove({ name, direct: true }, call).then(nothing),
    );
  }

  async promote(name: string, options: CallOptions = {}): Promise<void> {
    await this.#onLeader(
      options,
      (signal) => this.#promote(name, signal),
      (stub, call) => stub.promote({ name, direct: true }, call).then(nothing),
    );
  }

  async #promote(name: string, signal: AbortSignal | undefined): Promise<void> {
    const member = this.#named(name);
    if (isVoter(member)) return;
    if (member.address === "") {
      throw new HoldfastError(
        "conflict",
        `member ${name} has never come; start it with \`holdfast start --name ${name} --join …\``,
      );
    }
    if (!this.#engine.isCaughtUp(member.id)) {
      const { progress, lastIndex } = this.#engine.status();
      const lag = lastIndex - (progress.find((other) => other.member === member.id)?.match ?? 0);
      throw new HoldfastError(
        "conflict",
        `member ${name} has not caught up: it is ${lag} entries behind; promote it later, or let it be promoted by itself`,
      );
    }
    const replaced = memberOf(this.#engine.configuration(), member.replaces);
    const put = [{ ...putOf(member), voter: true, replaces: 0, stays: false }];
    await this.#change({ put, ...(replaced !== undefined && { remove: [replaced.id] }) }, signal);
  }

  async transfer(to: { readonly name: string } | { readonly zone: string }, options: CallOptions = {}): Promise<void> {
    await this.#onLeader(
      options,
      (signal) => ("name" in to ? this.#transferTo(to.name, signal) : this.#prefer(to.zone, signal)),
      (stub, call) => stub.transfer({ ...to, direct: true }, call).then(nothing),
    );
  }

  async #transferTo(name: string, signal: AbortSignal | undefined): Promise<void> {
    const member = this.#named(name);
    if (!member.voter) {
      throw new HoldfastError("invalid", `member ${name} does not vote, so it cannot lead; promote it first`);
    }
    if (member.id === this.#identity.id) return;
    await this.#engine.transfer(member.id, signal);
  }

  async #prefer(zone: string, signal: AbortSignal | undefined): Promise<void> {
    const { members, leaderZone } = this.#engine.configuration();
    const candidates = members.filter((member) => member.voter && member.zone === zone);
    if (zone !== "" && candidates.length === 0) {
      throw new HoldfastError("invalid", `no voter is in zone ${JSON.stringify(zone)}; zones are set with --zone`);
    }
    if (leaderZone !== zone) await this.#change({ leaderZone: zone }, signal);
    if (zone === "" || candidates.some(({ id }) => id === this.#identity.id)) return;
    const { progress } = this.#engine.status();
    const suited = progress
      .filter(({ member, active }) => active && candidates.some(({ id }) => id === member))
      .toSorted((a, b) => b.match - a.match || a.member - b.member);
    const [best] = suited;
    // The preference stands: the engine hands over as soon as one of the zone can take it.
    if (best !== undefined) await this.#engine.transfer(best.member, signal);
  }

  /**
   * Makes a member with an empty directory a learner. With the id of a member it only brings its address and zone up to
   * date, so that it may be repeated; an empty zone leaves it as it is.
   */
  async join(request: JoinRequest, options: CallOptions = {}): Promise<JoinAnswer> {
    return this.#onLeader(
      options,
      (signal) => this.#admit(request, signal),
      (stub, call) => stub.join({ ...request, direct: true }, call),
    );
  }

  async #admit(request: JoinRequest, signal: AbortSignal | undefined): Promise<JoinAnswer> {
    const { id, name, address, zone } = request;
    checkMemberName(name);
    if (address === "") throw new HoldfastError("invalid", `member ${name} does not say where it is reached`);
    const configuration = this.#engine.configuration();
    if (configuration.removed.includes(id)) throw wasRemoved(name);
    const known = memberOf(configuration, id);
    const same = this.#byName(name);
    if (known !== undefined) {
      const present = { ...putOf(known), address, zone: zone === "" ? known.zone : zone };
      if (known.address !== present.address || known.zone !== present.zone) {
        await this.#change({ put: [present] }, signal);
      }
    } else if (same !== undefined && same.address !== "") {
      throw nameInUse(name);
    } else {
      const put = {
        id,
        name,
        address,
        zone: zone === "" ? (same?.zone ?? "") : zone,
        voter: false,
        replaces: request.replaces === "" ? (same?.replaces ?? 0) : this.#idOf(request.replaces),
        stays: same?.stays ?? false,
      };
      // It takes the place that was kept for its name, whose id nobody ever had.
      await this.#change({ put: [put], ...(same !== undefined && { remove: [same.id] }) }, signal);
    }
    const { cluster, seed, founding } = this.#identity;
    return { cluster, seed, founding, present: this.#engine.configuration() };
  }

  /** Whether an id has been removed by a change that is committed, and so for good. */
  async knowsRemoved(id: MemberId, signal: AbortSignal): Promise<boolean> {
    const until = this.#engine.status().lastIndex;
    for (let waits = 0; this.#engine.configuration().removed.includes(id); waits++) {
      // The entry that removed it is at or before `until`: committed up to there, it stays.
      if (this.#engine.status().commit >= until) return true;
      if (waits === 10) return false;
      await sleep(this.#env.clock, leaderPollMs, signal);
    }
    return false;
  }

  #change(change: MembershipChange, signal: AbortSignal | undefined): Promise<void> {
    if (this.#engine.configuration().joint) {
      throw new HoldfastError("conflict", "another change of the members is under way; try again in a moment");
    }
    return this.#engine.changeMembership(change, signal);
  }

  #byName(name: string): ConfiguredMember | undefined {
    return this.#engine.configuration().members.find((member) => member.name === name);
  }

  #named(name: string): ConfiguredMember {
    const member = this.#byName(name);
    if (member !== undefined) return member;
    const names = this.#engine.configuration().members.map((other) => other.name);
    throw new HoldfastError("notFound", `there is no member ${name}; there are ${names.join(", ")}`);
  }

  #idOf(name: string): MemberId {
    return name === "" ? 0 : this.#named(name).id;
  }

  /** Runs `here` if this member leads, else has the leader run it; waits a while for one. */
  async #onLeader<T>(
    { direct = false, signal: given }: CallOptions,
    here: (signal: AbortSignal) => Promise<T>,
    there: (stub: ClusterStub, call: { readonly timeoutMs: number; readonly signal: AbortSignal }) => Promise<T>,
  ): Promise<T> {
    const { clock } = this.#env;
    const limit = new AbortController();
    const late = `the change was not completed within ${changeTimeoutMs / 1_000} s; it may be later: see the list of members`;
    const timer = clock.schedule(changeTimeoutMs, () => limit.abort(new HoldfastError("timeout", late)));
    const signal = given === undefined ? limit.signal : AbortSignal.any([given, limit.signal]);
    const endMs = clock.monotonicMs() + leaderWaitMs;
    try {
      for (;;) {
        try {
          const { role, leader } = this.#engine.status();
          if (role === "leader") return await here(signal);
          const address = memberOf(this.#engine.configuration(), leader)?.address ?? "";
          if (!direct && address !== "" && leader !== this.#identity.id) {
            const stub = this.#clients.at(address).use(ClusterService);
            return await there(stub, { timeoutMs: changeTimeoutMs, signal });
          }
          throw new HoldfastError("unavailable", "no leader is known here; a majority of the members must be up");
        } catch (error) {
          const again = error instanceof HoldfastError && error.code === "unavailable" && !error.maybe;
          if (!again || direct || clock.monotonicMs() >= endMs) throw maybeLate(error, limit.signal);
        }
        await sleep(clock, leaderPollMs, signal);
      }
    } finally {
      timer.cancel();
    }
  }
}

/** What was given up is perhaps done all the same. */
function maybeLate(error: unknown, { aborted, reason }: AbortSignal): unknown {
  if (!aborted || error !== reason || !(error instanceof HoldfastError)) return error;
  return new HoldfastError(error.code, error.message, { maybe: true, cause: error });
}

function putOf({ id, name, address, zone, voter, replaces, stays }: ConfiguredMember): Put {
  return { id, name, address, zone, voter, replaces, stays };
}

function nothing(): void {}
