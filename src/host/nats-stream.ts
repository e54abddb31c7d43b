/**
 * A JetStream stream as far as a log needs it: conditional appends, messages by sequence, purging, and hints that there is
 * something new. The packages of NATS are loaded when the first stream is opened; they are optional peers of this one.
 *
 * Messages are asked of the stream's leader (`$JS.API.STREAM.MSG.GET`), so that nothing has to be kept on the server for a
 * reader, and a server that was away costs a repeated question. When the connection is lost, what was asked on it gets no
 * answer any more, and the driver drops what is sent before there is another: both reject at once, for the caller to repeat.
 */
import { setTimeout } from "node:timers/promises";
import type * as Jetstream from "@nats-io/jetstream";
import type { JetStreamClient, JetStreamManager, StreamInfo } from "@nats-io/jetstream";
import type * as Transport from "@nats-io/transport-node";
import type { NatsConnection } from "@nats-io/transport-node";
import { deferred, HoldfastError, utf8Encode } from "../base/index.ts";
import type { Deferred } from "../base/index.ts";
import type { NatsAddress } from "./nats-address.ts";
import { NatsPart } from "./nats-part.ts";

/** Room that the fields beside a part's data, and the protocol, take of a message. */
const overheadSize = 4_096;
const connectTimeoutMs = 5_000;
const reconnectWaitMs = 100;
const requestTimeoutMs = 2_000;
/** How long servers that are choosing a leader, or have just come back, may take to find or make a stream. */
const makeMs = 12_000;
const makePauseMs = 250;

/** Error codes of JetStream. */
const wrongLastSequence = 10_071;
const noStream = 10_059;
/** Out of memory, storage, messages or bytes. */
const exhausted: ReadonlySet<number> = new Set([10_023, 10_028, 10_047, 10_054, 10_077]);

/** No suitable peers, temporarily unavailable: said while a server comes back. */
const passing: ReadonlySet<number> = new Set([10_005, 10_008]);

export interface StreamState {
  /** Sequences from 1; `last` is `first - 1` when the stream is empty. */
  readonly first: number;
  readonly last: number;
  readonly count: number;
  readonly replicas: number;
}

interface Drivers {
  readonly jetstream: typeof Jetstream;
  readonly transport: typeof Transport;
}

async function loadDrivers(): Promise<Drivers> {
  try {
    const [jetstream, transport] = await Promise.all([import("@nats-io/jetstream"), import("@nats-io/transport-node")]);
    return { jetstream, transport };
  } catch (error) {
    throw new HoldfastError(
      "unavailable",
      "a log on NATS needs the packages @nats-io/transport-node and @nats-io/jetstream; install them beside holdfast",
      { cause: error },
    );
  }
}

export class NatsStream {
  readonly name: string;
  readonly #subject: string;
  readonly #hintSubject: string;
  readonly #connection: NatsConnection;
  readonly #client: JetStreamClient;
  readonly #manager: JetStreamManager;
  readonly #codeOf: (error: unknown) => number | undefined;
  /** What waits for an answer on the connection. */
  readonly #asked = new Set<Pick<Deferred<never>, "reject">>();
  #isAway = false;

  private constructor(
    address: NatsAddress,
    connection: NatsConnection,
    { jetstream }: Drivers,
    manager: JetStreamManager,
  ) {
    this.name = address.stream;
    this.#subject = subjectOf(address);
    this.#hintSubject = `holdfast.hint.${address.stream}`;
    this.#connection = connection;
    this.#client = jetstream.jetstream(connection, { timeout: requestTimeoutMs });
    this.#manager = manager;
    this.#codeOf = (error) => codeOf(jetstream, error);
    this.#watch().catch(() => {});
  }

  async #watch(): Promise<void> {
    for await (const { type } of this.#connection.status()) {
      if (type === "reconnect") this.#isAway = false;
      if (type !== "disconnect") continue;
      this.#isAway = true;
      for (const { reject } of this.#asked) reject(this.#away());
    }
  }

  #away(): HoldfastError {
    return new HoldfastError("unavailable", `the connection to the servers of the stream ${this.name} on NATS is lost`);
  }

  async #ask<T>(question: () => Promise<T>): Promise<T> {
    if (this.#isAway) throw this.#away();
    const answer = deferred<T>();
    this.#asked.add(answer);
    question().then(
      (value) => answer.resolve(value),
      (error: unknown) => answer.reject(error),
    );
    try {
      return await answer.promise;
    } finally {
      this.#asked.delete(answer);
    }
  }

  /**
   * Connects, and makes the stream if there is none. `unavailable`, naming the servers, when it cannot; `corrupt` when it
   * must exist and does not.
   */
  static async open(address: NatsAddress, { mustExist = false } = {}): Promise<NatsStream> {
    const drivers = await loadDrivers();
    const where = `${address.servers.join(",")}/${address.stream}`;
    let connection: NatsConnection | undefined;
    try {
      const opened = await drivers.transport.connect({
        servers: [...address.servers],
        name: "holdfast",
        timeout: connectTimeoutMs,
        maxReconnectAttempts: -1,
        reconnectTimeWait: reconnectWaitMs,
      });
      connection = opened;
      const patiently = patience(drivers);
      const manager = await patiently(() => drivers.jetstream.jetstreamManager(opened, { timeout: requestTimeoutMs }));
      const stream = new NatsStream(address, opened, drivers, manager);
      await patiently(() => stream.#make(address, drivers, mustExist));
      return stream;
    } catch (error) {
      await connection?.close();
      if (error instanceof HoldfastError && error.code === "corrupt") throw error;
      const why = error instanceof Error ? error.message : String(error);
      throw new HoldfastError("unavailable", `the log's stream ${where} on NATS cannot be reached or made: ${why}`, {
        cause: error,
      });
    }
  }

  async #make(address: NatsAddress, { jetstream }: Drivers, mustExist: boolean): Promise<void> {
    try {
      await this.#manager.streams.info(this.name);
    } catch (error) {
      if (this.#codeOf(error) !== noStream) throw error;
      if (mustExist) {
        throw new HoldfastError(
          "corrupt",
          `the stream ${this.name} on NATS, which the log is in, is gone; restore it from a backup of JetStream`,
        );
      }
      await this.#manager.streams.add({
        name: this.name,
        subjects: [subjectOf(address)],
        description: "a log of Holdfast: nothing else may publish here",
        storage: jetstream.StorageType.File,
        num_replicas: address.replicas,
        retention: jetstream.RetentionPolicy.Limits,
        discard: jetstream.DiscardPolicy.New,
        deny_delete: true,
      });
    }
  }

  /** Bytes of data that one message takes. */
  get partSizeMax(): number {
    return (this.#connection.info?.max_payload ?? 1_048_576) - overheadSize;
  }

  async state(): Promise<StreamState> {
    const info: StreamInfo = await this.#ask(() => this.#manager.streams.info(this.name));
    const { first_seq: first, last_seq: last, messages: count } = info.state;
    return { first, last, count, replicas: info.config.num_replicas };
  }

  /** Undefined when there is none with this sequence, or not any more. */
  async get(sequence: number): Promise<NatsPart | undefined> {
    const stored = await this.#ask(() => this.#manager.streams.getMessage(this.name, { seq: sequence }));
    return stored === null ? undefined : NatsPart.decode(stored.data);
  }

  /**
   * Appends behind the message with sequence `after`, or not at all: false when that is not the last. Rejects with
   * `exhausted` when the server has no room, with anything else when nobody knows: after two seconds, or `timeoutMs` if
   * that is less, or when the connection is lost.
   */
  async publish(part: NatsPart, after: number, timeoutMs: number): Promise<boolean> {
    try {
      const options = {
        timeout: Math.max(1, Math.min(requestTimeoutMs, timeoutMs)),
        retries: 1,
        expect: { streamName: this.name, lastSequence: after },
      };
      await this.#ask(() => this.#client.publish(this.#subject, NatsPart.encode(part), options));
      return true;
    } catch (error) {
      const code = this.#codeOf(error);
      if (code === wrongLastSequence) return false;
      if (code !== undefined && exhausted.has(code)) {
        throw new HoldfastError("exhausted", `the stream ${this.name} on NATS takes no more: ${String(error)}`);
      }
      throw error;
    }
  }

  /** Forgets messages with sequences below `before`. */
  async purge(before: number): Promise<void> {
    await this.#ask(() => this.#manager.streams.purge(this.name, { seq: before }));
  }

  /** Tells the other members that there is something new. May get lost. */
  hint(): void {
    if (!this.#connection.isClosed()) this.#connection.publish(this.#hintSubject, utf8Encode(""));
  }

  onHint(listener: () => void): void {
    this.#connection.subscribe(this.#hintSubject, { callback: listener });
  }

  /** Deletes the stream with all that is in it. */
  async delete(): Promise<void> {
    await this.#manager.streams.delete(this.name);
  }

  async close(): Promise<void> {
    await this.#connection.close();
  }
}

function subjectOf({ stream }: NatsAddress): string {
  return `holdfast.log.${stream}`;
}

/** Of an error that JetStream has answered. */
function codeOf(jetstream: Drivers["jetstream"], error: unknown): number | undefined {
  return error instanceof jetstream.JetStreamApiError ? error.code : undefined;
}

/** What does a thing again, for as long as servers may take to choose a leader, when they say nothing or that it will pass. */
function patience({ jetstream }: Drivers): <T>(act: () => Promise<T>) => Promise<T> {
  const untilMs = performance.now() + makeMs;
  return async (act) => {
    for (;;) {
      try {
        return await act();
      } catch (error) {
        const isSilent = error instanceof Error && error.name === "TimeoutError";
        const code = codeOf(jetstream, error);
        const mayPass = isSilent || (code !== undefined && passing.has(code));
        if (!mayPass || performance.now() >= untilMs) throw error;
        await setTimeout(makePauseMs);
      }
    }
  };
}
