/**
 * The copy of one object in one process: brought up to what a store answers, from its snapshot and its commands.
 *
 * What an earlier version of the code wrote is played by that version (`previous` of the definition). Then the copy is
 * `outdated`: its owner writes down the state of `migrated`, and only then gives commands of the new version.
 */
import { assert, concatBytes, giveWay, HoldfastError, limits, utf8Decode, utf8Encode } from "../../base/index.ts";
import type { Clock } from "../../base/index.ts";
import type { AnyDefinition } from "./definition.ts";
import { partSizeMax, said, snapshotProblem, tooOldText } from "./object-view.ts";
import type { ObjectAnswer, ObjectName, ObjectOperation, ObjectQuery } from "./object-view.ts";
import { ObjectPlayer } from "./player.ts";
import type { Development, Played } from "./player.ts";

export type Ask = (query: ObjectQuery) => Promise<ObjectAnswer>;
/** Told of every command that is played. */
export type OnPlayed = (id: number, sequence: number, played: Played, size: number) => void;

type StoredObject = NonNullable<ObjectAnswer["object"]>;

/** How long commands are played before others have a turn. */
const sliceMs = 4;

export class ObjectCopy {
  readonly name: ObjectName;
  readonly #clock: Pick<Clock, "monotonicMs" | "defer">;
  readonly #definition: AnyDefinition;
  readonly #development: Development | undefined;
  #player: ObjectPlayer;
  /** 0: there is no such object yet. */
  #id = 0;
  #snapshotSequence = 0;
  /** Only then the first state stands for an object that is not there. */
  #asked = false;

  constructor(clock: Clock, definition: AnyDefinition, key: string, development: Development | undefined) {
    this.name = { type: definition.type, key };
    this.#clock = clock;
    this.#definition = definition;
    this.#development = development;
    this.#player = this.#first();
  }

  get player(): ObjectPlayer {
    return this.#player;
  }

  get id(): number {
    return this.#id;
  }

  get snapshotSequence(): number {
    return this.#snapshotSequence;
  }

  /** It was written by an earlier version, and has not been migrated. */
  get outdated(): boolean {
    return this.#player.definition.version < this.#definition.version;
  }

  #first(): ObjectPlayer {
    return new ObjectPlayer(this.#definition, undefined, 0, this.#development);
  }

  /** Plays all that the store has; one call at a time. Says whether anything has come. */
  async catchUp(ask: Ask, onPlayed?: OnPlayed): Promise<boolean> {
    for (let moved = false; ;) {
      const { sequence } = this.#player;
      const version = this.#asked ? this.#player.definition.version : 0;
      const answer = await ask({
        query: { case: "read", value: { name: this.name, id: this.#id, version, from: sequence } },
      });
      this.#asked = true;
      const { object } = answer;
      if (object === undefined) {
        if (this.#id === 0) return moved;
        this.#id = 0;
        this.#snapshotSequence = 0;
        this.#player = this.#first();
        return true;
      }
      const other = object.id !== this.#id && this.#id !== 0;
      const anew = other || object.version !== version || answer.from !== sequence;
      if (anew) {
        this.#asked = false;
        if (!(await this.#load(ask, object))) continue;
        this.#asked = true;
      }
      this.#id = object.id;
      this.#snapshotSequence = object.snapshotSequence;
      moved ||= anew || answer.records.length > 0;
      await this.#play(answer, onPlayed);
      if (!answer.more) return moved;
    }
  }

  async #play({ records, from }: ObjectAnswer, onPlayed: OnPlayed | undefined): Promise<void> {
    assert(from === this.#player.sequence, `commands from ${from} on are played at ${this.#player.sequence}`);
    let sinceMs = this.#clock.monotonicMs();
    for (const record of records) {
      const { sequence } = this.#player;
      const played = this.#player.play(record);
      onPlayed?.(this.#id, sequence, played, record.body.length);
      if (this.#clock.monotonicMs() - sinceMs < sliceMs) continue;
      await giveWay(this.#clock as Clock);
      sinceMs = this.#clock.monotonicMs();
    }
  }

  /** Begins with the snapshot; false when another one has taken its place. */
  async #load(ask: Ask, object: StoredObject): Promise<boolean> {
    const { id, snapshotSequence: sequence, snapshotPartCount: count, version, next } = object;
    const definition = this.#definitionOf(version, sequence < next || count === 0);
    const parts: Uint8Array[] = [];
    for (let part = 0; part < count; part++) {
      const answer = await ask({ query: { case: "part", value: { name: this.name, id, sequence, part } } });
      if (answer.part === undefined) return false;
      parts.push(answer.part);
    }
    const json = count === 0 ? undefined : utf8Decode(concatBytes(parts));
    this.#player = new ObjectPlayer(definition, json, sequence, this.#development);
    this.#id = id;
    return true;
  }

  /** Who plays commands of that version. Without commands to play, nobody need know it. */
  #definitionOf(version: number, plays: boolean): AnyDefinition {
    if (version > this.#definition.version) {
      throw new HoldfastError("unavailable", tooOldText(this.name, version, this.#definition.version));
    }
    for (let one: AnyDefinition | undefined = this.#definition; one !== undefined; one = one.previous)
      if (one.version === version) return one;
    if (!plays) return { ...this.#definition, version, commands: {}, queries: {} };
    const remedy = "name its definition as `previous`, or have a program of that version call snapshot() as its last";
    throw new HoldfastError(
      "unavailable",
      `${said(this.name)} has commands of version ${version}, which this program, of version ${this.#definition.version}, does not know: ${remedy}`,
    );
  }

  /** The snapshot with which the definition's own version begins; adopt it when it has its place in the log. */
  migration(): { readonly operation: ObjectOperation; readonly adopt: () => void } {
    const { sequence, definition } = this.#player;
    const state = migrated(this.#definition, JSON.parse(this.#player.text()), definition.version);
    const json = JSON.stringify(state);
    const player = new ObjectPlayer(this.#definition, json, sequence, this.#development);
    const operation = this.snapshot(player);
    return { operation, adopt: () => (this.#player = player) };
  }

  /** `invalid` when the state is larger than a snapshot may be. */
  snapshot(player: ObjectPlayer = this.#player): ObjectOperation {
    const bytes = utf8Encode(player.text());
    if (bytes.length > limits.objectSizeMax)
      throw new HoldfastError("invalid", snapshotProblem(this.name, bytes.length));
    const parts: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; at += partSizeMax) parts.push(bytes.subarray(at, at + partSizeMax));
    const { version } = player.definition;
    const value = { name: this.name, id: this.#id, sequence: player.sequence, version, parts };
    return { operation: { case: "snapshot", value } };
  }
}

/** Version by version, as far as they are known. */
function migrated(definition: AnyDefinition, state: unknown, from: number): unknown {
  const { previous } = definition;
  if (previous === undefined || previous.version <= from) return definition.migrate(state, from);
  return definition.migrate(migrated(previous, state, from), previous.version);
}
