/**
 * Requests to one bucket: the SDK, which is loaded with the first of them, its one client, and the secrets,
 * which are read again when they are refused.
 *
 * Invariants: the SDK reads no file and no variable of the host and makes no request again by itself;
 * no secret is in an error; a request that was told to end has ended.
 */
import type { S3Client, S3ClientConfig } from '@aws-sdk/client-s3';
import type { Clock } from '../../base/clock.ts';
import type { OpError } from '../../base/errors.ts';
import { NODE_CALLS_WAITING_MAX, STORE_CONNECTIONS_MAX } from '../../base/limits.ts';
import type { Secret } from '../../base/secrets.ts';
import { Turns } from '../../base/turns.ts';
import { faultOf } from './faults.ts';

type Sdk = typeof import('@aws-sdk/client-s3');

export interface S3Credentials {
  readonly accessKeyId: Secret;
  readonly secretAccessKey: Secret;
  readonly sessionToken?: Secret | undefined;
}

export interface S3Address {
  readonly bucket: string;
  /** `http://HOST:PORT`; that of AWS in the region when absent. */
  readonly endpoint?: string | undefined;
  readonly region: string;
  /** The bucket as a part of the path, not of the host; true when absent and there is an endpoint. */
  readonly pathStyle?: boolean | undefined;
}

export interface RequestsOptions extends S3Address {
  /** Read anew when they are refused; undefined: requests are not signed. */
  readonly credentials: (() => S3Credentials) | undefined;
  readonly clock: Clock;
}

/** What a request is for, and what ends it: a `Deadline`, or a part of one. */
interface Ending {
  readonly op: string;
  /** Aborts with an OpError. */
  readonly signal: AbortSignal;
}

/** With what a request is made. */
export interface Sending {
  readonly sdk: Sdk;
  readonly client: S3Client;
  readonly how: { readonly abortSignal: AbortSignal };
}

/** `short` for what is answered at once; `long` for what streams: a reader who rests keeps nobody waiting. */
type Lane = 'short' | 'long';

export class Requests {
  readonly #options: RequestsOptions;
  readonly #lanes: Readonly<Record<Lane, Turns>>;
  #client: S3Client | undefined;
  /** With which requests are signed, until they are refused. */
  #secrets: S3Credentials | undefined;

  constructor(options: RequestsOptions) {
    this.#options = options;
    const lane = { atOnce: STORE_CONNECTIONS_MAX / 2, waitingMax: NODE_CALLS_WAITING_MAX };
    this.#lanes = { short: new Turns(lane), long: new Turns(lane) };
  }

  get clock(): Clock {
    return this.#options.clock;
  }

  /** One request and its whole answer. @throws as `Store`. */
  async ask<T>(deadline: Ending, send: (sending: Sending) => Promise<T>): Promise<T> {
    const leave = await this.#lanes.short.enter(deadline.op, deadline.signal);
    try {
      return await this.#sent(deadline, send);
    } finally {
      leave();
    }
  }

  /** One request whose answer is read later; whoever is given it calls `leave`. @throws as `Store`. */
  async hold<T>(
    deadline: Ending,
    send: (sending: Sending) => Promise<T>,
  ): Promise<{ readonly answer: T; readonly leave: () => void }> {
    const leave = await this.#lanes.long.enter(deadline.op, deadline.signal);
    try {
      return { answer: await this.#sent(deadline, send), leave };
    } catch (error) {
      leave();
      throw error;
    }
  }

  close(): void {
    this.#client?.destroy();
    this.#client = undefined;
  }

  async #sent<T>(ending: Ending, send: (sending: Sending) => Promise<T>): Promise<T> {
    const sdk = await import('@aws-sdk/client-s3');
    const { signal, op } = ending;
    for (let times = 1; ; times++) {
      signal.throwIfAborted();
      this.#secrets ??= this.#options.credentials?.();
      this.#client ??= new sdk.S3Client(configOf(this.#options, () => this.#secrets));
      const shown = shownBy(this.#secrets);
      try {
        return await send({ sdk, client: this.#client, how: { abortSignal: signal } });
      } catch (error) {
        signal.throwIfAborted();
        const fault = faultOf(error, op, this.clock);
        if (times > 1 || !this.#helpsToAskAgain(fault, shown)) throw fault;
      }
    }
  }

  /** Refused before it was looked at: once more with other secrets, or by the clock that the store named. */
  #helpsToAskAgain({ failure, details }: OpError, shown: string): boolean {
    // The SDK has noted by how much the clocks differ.
    if (details['code'] === 'RequestTimeTooSkewed') return true;
    if (failure !== 'credentials-invalid' && failure !== 'credentials-expired') return false;
    this.#secrets = this.#options.credentials?.();
    return shown !== shownBy(this.#secrets);
  }
}

/** To be compared, and nothing else. */
const shownBy = (credentials: S3Credentials | undefined): string =>
  JSON.stringify(
    [credentials?.accessKeyId, credentials?.secretAccessKey, credentials?.sessionToken].map(
      (secret) => secret?.reveal() ?? null,
    ),
  );

/** All that the SDK would otherwise look for in the environment and in files of its own. */
function configOf(
  { endpoint, region, pathStyle, credentials }: RequestsOptions,
  secrets: () => S3Credentials | undefined,
): S3ClientConfig {
  const sockets = { keepAlive: true, maxSockets: STORE_CONNECTIONS_MAX };
  const silent = () => {};
  const logger = { trace: silent, debug: silent, info: silent, warn: silent, error: silent };
  return {
    ...(endpoint === undefined ? {} : { endpoint }),
    ignoreConfiguredEndpointUrls: true,
    region,
    forcePathStyle: pathStyle ?? endpoint !== undefined,
    credentials: async () => revealed(secrets()),
    ...(credentials === undefined ? { signer: { sign: async (request) => request } } : {}),
    maxAttempts: 1,
    retryMode: 'standard',
    defaultsMode: 'standard',
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    authSchemePreference: [],
    sigv4aSigningRegionSet: [],
    useArnRegion: false,
    useDualstackEndpoint: false,
    useFipsEndpoint: false,
    disableS3ExpressSessionAuth: true,
    disableMultiregionAccessPoints: true,
    userAgentAppId: 'kitfs',
    requestHandler: { httpAgent: sockets, httpsAgent: sockets, logger },
    logger,
  };
}

/** As the SDK takes them: expired, so that it asks again for each request. */
const revealed = (secrets: S3Credentials | undefined) => ({
  accessKeyId: secrets?.accessKeyId.reveal() ?? '',
  secretAccessKey: secrets?.secretAccessKey.reveal() ?? '',
  ...(secrets?.sessionToken === undefined ? {} : { sessionToken: secrets.sessionToken.reveal() }),
  expiration: new Date(0),
});
