/**
 * The members of a cluster as a client knows them: it asks whom it is connected to, and tells the rpc client where it may
 * connect.
 *
 * 1. Asked is after each connecting, and every half minute while there is a connection. While not all members are voters,
 *    asked is after one second, two, four, …: members that learn or leave are a change under way, and whoever knows only the
 *    voters from before it would be lost when those go.
 * 2. The client may connect to the voters of the last list, then to the addresses that the user gave: these stay, as a
 *    last resort, whatever the list says. A list without a cluster, or a member without the service, changes nothing.
 */
import { HoldfastError } from "../base/index.ts";
import type { Env, Timer } from "../base/index.ts";
import type { RpcClient, Stub } from "../rpc/index.ts";
import type { RemoteCalls } from "../view/index.ts";
import { ClusterService } from "./cluster/cluster-service.ts";
import type { AddOptions, MemberInfo, MemberList, Members } from "./cluster/members.ts";

interface Signalled {
  readonly signal?: AbortSignal;
}

/** Jittered by a fifth, so that many clients do not ask at one moment. */
const followMs = 30_000;
const changingMs = 1_000;
const askTimeoutMs = 5_000;

export class RemoteMembers implements Members {
  readonly #env: Pick<Env, "clock" | "random">;
  readonly #client: RpcClient;
  readonly #calls: RemoteCalls;
  readonly #stub: Stub<(typeof ClusterService)["methods"]>;
  readonly #given: readonly string[];
  #timer: Timer | undefined;
  #asking = false;
  /** There is a connection that is newer than the question. */
  #askAgain = false;
  /** The pause after a list with members that are no voters; 0 if the last one had none. */
  #changingMs = 0;
  #closed = false;

  /** `follow`: keep the client's addresses up to date. `calls` must be of `client`. */
  constructor(env: Pick<Env, "clock" | "random">, client: RpcClient, calls: RemoteCalls, follow: boolean) {
    this.#env = env;
    this.#client = client;
    this.#calls = calls;
    this.#stub = client.use(ClusterService);
    this.#given = client.addresses;
    if (follow) client.onConnected(() => this.#schedule(0));
  }

  async list({ signal }: Signalled = {}): Promise<MemberList> {
    return this.#calls.repeated(signal, (options) => this.#stub.list({}, options));
  }

  add(name: string, { signal, ...options }: AddOptions & Signalled = {}): Promise<MemberInfo> {
    return this.#change(signal, (call) => this.#stub.add({ name, ...options }, call));
  }

  async remove(name: string, { signal }: Signalled = {}): Promise<void> {
    await this.#change(signal, (call) => this.#stub.remove({ name }, call));
  }

  async promote(name: string, { signal }: Signalled = {}): Promise<void> {
    await this.#change(signal, (call) => this.#stub.promote({ name }, call));
  }

  async transfer(to: { readonly name: string } | { readonly zone: string }, { signal }: Signalled = {}): Promise<void> {
    await this.#change(signal, (call) => this.#stub.transfer(to, call));
  }

  /** Asks no more. */
  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  /** Repeats a change as long as it has surely not been made. */
  async #change<T>(
    signal: AbortSignal | undefined,
    attempt: (options: { readonly signal?: AbortSignal; readonly timeoutMs?: number }) => Promise<T>,
  ): Promise<T> {
    const call = this.#calls.begin(signal);
    for (;;) {
      try {
        // All of the time, since a change that was sent is not sent again.
        return await attempt({ ...call.options(), timeoutMs: Math.max(1, Math.ceil(call.leftMs)) });
      } catch (error) {
        if (!(error instanceof HoldfastError) || error.maybe || !call.passes(error)) throw error;
        await call.again(error, false);
      }
    }
  }

  #schedule(delayMs: number): void {
    if (this.#closed) return;
    this.#timer?.cancel();
    this.#timer = this.#env.clock.schedule(delayMs, () => void this.#follow());
  }

  async #follow(): Promise<void> {
    if (this.#asking) {
      this.#askAgain = true;
      return;
    }
    this.#asking = true;
    this.#askAgain = false;
    try {
      // Without a connection nobody is asked: the next connecting brings the question back.
      if (!this.#client.connected) return;
      this.#take(await this.#stub.list({}, { timeoutMs: askTimeoutMs }));
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      // Older members, and those that are not ready, cannot say.
    } finally {
      this.#asking = false;
      const usualMs = this.#changingMs === 0 ? followMs : this.#changingMs;
      const pauseMs = this.#askAgain ? 0 : usualMs * (0.8 + 0.4 * this.#env.random.float());
      if (this.#client.connected) this.#schedule(pauseMs);
    }
  }

  #take({ cluster, members }: MemberList): void {
    if (cluster === "" || this.#closed) return;
    const isChanging = members.some(({ role }) => role !== "voter");
    this.#changingMs = isChanging ? Math.min(followMs, Math.max(changingMs, 2 * this.#changingMs)) : 0;
    const listed = members.filter(({ role, address }) => role === "voter" && address !== "");
    if (listed.length === 0) return;
    const addresses = shuffled(
      this.#env.random,
      listed.map(({ address }) => address),
    );
    this.#client.setAddresses([...addresses, ...this.#given]);
  }
}

/** In an order by chance, so that many clients do not all choose the same member. */
export function shuffled<T>(random: Env["random"], items: readonly T[]): T[] {
  const keyed = items.map((item) => ({ item, place: random.float() }));
  return keyed.toSorted((a, b) => a.place - b.place).map(({ item }) => item);
}
