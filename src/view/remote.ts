/**
 * A proposer whose replica is elsewhere. Its commands take effect exactly once, through a session: when an answer is
 * lost, the same command is sent again, to the same member or another, and the store answers what it answered.
 *
 * 1. An error has `maybe` if, and only if, some attempt may have brought the command into the log. Such a command is tried
 *    again until the time is up, whatever else goes wrong; one that was surely not taken is retried only where that may
 *    help.
 * 2. A session that has ended is replaced by a new one only for commands that it surely has not seen.
 * 3. All that a command waits for counts: its turn, a session, answers.
 */
import { abortable, deferred, HoldfastError } from "../base/index.ts";
import type { Deferred, Env, Infer } from "../base/index.ts";
import type { RpcClient, Stub } from "../rpc/index.ts";
import { fromEncodedOutcome } from "./applier.ts";
import type {
  CommandOutcome,
  EncodedOperation,
  EncodedOutcome,
  Operation,
  ProposeOptions,
  Proposer,
} from "./command.ts";
import { RemoteCalls, unchanging, withMaybe } from "./remote-calls.ts";
import type { RemoteCall, RemoteOptions } from "./remote-calls.ts";
import { CommandService } from "./service.ts";

/** Commands of one client under way; the others wait here, within what a connection and a session take. */
const commandCountMax = 1_024;

interface Opening {
  readonly done: Promise<ClientSession>;
  /** Undefined until it is open. */
  session: ClientSession | undefined;
}

export class RemoteProposer implements Proposer {
  readonly #calls: RemoteCalls;
  readonly #stub: Stub<(typeof CommandService)["methods"]>;
  /** The session for commands, open or about to be. */
  #opening: Opening | undefined;
  /** The last that was opened. */
  #openedSession: ClientSession | undefined;
  #underWay = 0;
  /** Commands that wait until others are answered. */
  readonly #queue: Deferred<void>[] = [];

  constructor(env: Pick<Env, "clock" | "random">, client: RpcClient, options: RemoteOptions) {
    this.#calls = new RemoteCalls(env, client, options);
    this.#stub = client.use(CommandService);
  }

  async propose(operations: readonly Operation[], { signal }: ProposeOptions = {}): Promise<CommandOutcome> {
    const encoded = operations.map((one) => ({
      viewId: one.view.id,
      body: "encoded" in one ? one.encoded : one.view.operation.encode(one.body as never),
    }));
    const call = this.#calls.begin(signal);
    await this.#enter(call, signal);
    try {
      return await this.#propose(operations, encoded, call, signal);
    } finally {
      this.#leave();
    }
  }

  /** Waits until one more command may be under way. */
  async #enter(call: RemoteCall, signal: AbortSignal | undefined): Promise<void> {
    if (this.#underWay < commandCountMax) {
      this.#underWay++;
      return;
    }
    const turn = deferred<void>();
    this.#queue.push(turn);
    try {
      await this.#inTime(abortable(turn.promise, signal), call, `${commandCountMax} commands before it are under way`);
    } catch (error) {
      const index = this.#queue.indexOf(turn);
      if (index >= 0) this.#queue.splice(index, 1);
      else this.#leave();
      throw error;
    }
  }

  #leave(): void {
    const next = this.#queue.shift();
    if (next === undefined) this.#underWay--;
    else next.resolve();
  }

  /** Settles as `waiting` does, or rejects with `timeout` when the call's time is up before. */
  async #inTime<T>(waiting: Promise<T>, call: RemoteCall, why: string): Promise<T> {
    const late = deferred<never>();
    const timer = this.#calls.clock.schedule(Math.max(0, call.leftMs), () => {
      late.reject(new HoldfastError("timeout", `nothing was sent within ${this.#calls.timeoutMs} ms: ${why}`));
    });
    try {
      return await Promise.race([waiting, late.promise]);
    } finally {
      timer.cancel();
    }
  }

  async #propose(
    operations: readonly Operation[],
    encoded: readonly Infer<typeof EncodedOperation>[],
    call: RemoteCall,
    signal: AbortSignal | undefined,
  ): Promise<CommandOutcome> {
    for (;;) {
      const isShared = this.#opening !== undefined;
      const opening = (this.#opening ??= this.#openSession(call));
      const session = opening.session ?? (await this.#opened(abortable(opening.done, signal), call, isShared));
      if (session === undefined) continue;
      const sequence = session.begin();
      try {
        const outcome = await this.#send(session, sequence, encoded, call);
        if (outcome !== undefined)
          return fromEncodedOutcome(
            operations.map(({ view }) => view),
            outcome,
          );
        // The session had ended before it saw the command: a new one may send it.
        if (this.#opening === opening) this.#opening = undefined;
      } finally {
        session.end(sequence);
      }
    }
  }

  /** Undefined when it could not be opened, and this call has time left. */
  async #opened(
    opening: Promise<ClientSession>,
    call: RemoteCall,
    isShared: boolean,
  ): Promise<ClientSession | undefined> {
    try {
      // Whoever began to open it has given it no more time than its own.
      return await (isShared ? this.#inTime(opening, call, "the session for its commands is not open yet") : opening);
    } catch (error) {
      // Nothing of the command was sent.
      if (!(error instanceof HoldfastError) || !call.passes(error)) throw unchanging(error);
      await call.again(error, false);
      return undefined;
    }
  }

  /** Undefined when the session has ended and the command cannot have taken effect. */
  async #send(
    session: ClientSession,
    sequence: number,
    operations: readonly Infer<typeof EncodedOperation>[],
    call: RemoteCall,
  ) {
    let sentBefore = false;
    for (;;) {
      let outcome: EncodedOutcome;
      try {
        const request = { session: session.id, sequence, acknowledgedBelow: session.acknowledgedBelow, operations };
        outcome = await this.#stub.propose(request, call.options());
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
        sentBefore ||= error.maybe;
        const passes = call.passes(error) || (sentBefore && error.code === "exhausted");
        if (!passes) throw withMaybe(error, sentBefore);
        await call.again(error, sentBefore);
        continue;
      }
      if (!outcome.sessionRefused) return outcome;
      if (!sentBefore && outcome.code === "notFound") return undefined;
      const lost = new HoldfastError("unavailable", `the answer is lost: ${outcome.message}`, { maybe: sentBefore });
      // Too many answers that are not acknowledged yet: that passes. A session that is gone does not come back.
      if (outcome.code !== "exhausted") throw lost;
      await call.again(lost, sentBefore);
    }
  }

  /** One attempt to open the session, in the time of one command. Nobody's signal ends it, since others wait for it too. */
  #openSession({ attemptMs }: RemoteCall): Opening {
    // An attempt whose answer is lost may have opened one too: it ends after an idle hour.
    const done = this.#stub.session({}, { timeoutMs: attemptMs }).then(({ session }) => {
      opening.session = new ClientSession(session);
      this.#openedSession = opening.session;
      return opening.session;
    });
    const opening: Opening = { done, session: undefined };
    // Whoever comes next tries anew.
    done.catch(() => {
      if (this.#opening === opening) this.#opening = undefined;
    });
    return opening;
  }

  /** Ends the session, so that the store need not remember it; best effort. */
  async close(): Promise<void> {
    // One that is still being opened is not waited for.
    const session = this.#openedSession;
    if (session === undefined) return;
    await this.#stub.session({ close: session.id }, { timeoutMs: 1_000 }).catch(() => {});
  }
}

/** Counts a session's commands and knows which answers have come. */
class ClientSession {
  readonly id: number;
  #next = 1;
  #low = 1;
  readonly #ended = new Set<number>();

  constructor(id: number) {
    this.id = id;
  }

  get acknowledgedBelow(): number {
    return this.#low;
  }

  begin(): number {
    return this.#next++;
  }

  /** The command's answer has come, or is no longer wanted. */
  end(sequence: number): void {
    this.#ended.add(sequence);
    while (this.#ended.delete(this.#low)) this.#low++;
  }
}
