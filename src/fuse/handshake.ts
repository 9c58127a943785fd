/**
 * INIT: what this server takes of what the kernel offers. A pure decision; nothing that is not
 * offered is asked for, and the mount works with none of the optional features.
 */
import { OpError } from '../base/errors.ts';
import { FUSE_BACKGROUND_MAX, FUSE_IO_BYTES_MAX } from '../base/limits.ts';
import type { Request } from './decode.ts';
import {
  FUSE_KERNEL_MINOR_VERSION,
  FUSE_KERNEL_VERSION,
  INIT_FLAG,
  INIT_FLAG2,
  INIT_IN,
  INIT_OUT,
  INIT_OUT_MAX_STACK_DEPTH,
  MINOR_VERSION_MIN,
} from './layout.ts';

/** What an INIT request offers. */
export interface Offer {
  readonly major: number;
  readonly minor: number;
  /** Bytes. */
  readonly maxReadahead: number;
  readonly flags: number;
  readonly flags2: number;
}

/** What both sides agreed on. */
export interface Features {
  readonly minor: number;
  readonly maxReadahead: number;
  readonly flags: number;
  readonly flags2: number;
  readonly hasSetxattrExt: boolean;
  readonly hasResend: boolean;
  /** Whether the kernel reads directories without opening them, and keeps what it read. */
  readonly opensNoDirectories: boolean;
  /** Whether files may be given to the kernel to read and write by itself. */
  readonly hasPassthrough: boolean;
}

/**
 * What is taken when offered. Left out on purpose: AUTO_INVAL_DATA (changes are announced instead),
 * WRITEBACK_CACHE (the kernel would own sizes and times), POSIX_LOCKS and FLOCK_LOCKS (locks stay
 * with the kernel), EXPORT_SUPPORT. POSIX_ACL and DONT_MASK go together: a default ACL takes the
 * place of the umask, so the umask is ours to apply.
 */
const FLAGS_WANTED =
  INIT_FLAG.asyncRead |
  INIT_FLAG.atomicOTrunc |
  INIT_FLAG.bigWrites |
  INIT_FLAG.dontMask |
  INIT_FLAG.doReaddirplus |
  INIT_FLAG.readdirplusAuto |
  INIT_FLAG.parallelDirops |
  INIT_FLAG.posixAcl |
  INIT_FLAG.abortError |
  INIT_FLAG.maxPages |
  INIT_FLAG.cacheSymlinks |
  INIT_FLAG.noOpendirSupport |
  INIT_FLAG.explicitInvalData |
  INIT_FLAG.handleKillprivV2 |
  INIT_FLAG.setxattrExt |
  INIT_FLAG.initExt;
const FLAGS2_WANTED = INIT_FLAG2.hasResend;

/** File systems below the one that holds the backing files: none, so that others may stack on us. */
const STACK_DEPTH_MAX = 1;
const PAGE_BYTES = 4096;
/** Nanoseconds: times are kept as they are given. */
const TIME_GRANULARITY_NS = 1;

export function readOffer(request: Request): Offer {
  const flags = request.u32(INIT_IN.flags);
  // Kernels before 7.36 end the structure before `flags2`.
  const isExtended = (flags & INIT_FLAG.initExt) !== 0;
  return {
    major: request.u32(INIT_IN.major),
    minor: request.u32(INIT_IN.minor),
    maxReadahead: request.u32(INIT_IN.maxReadahead),
    flags,
    flags2: isExtended ? request.u32(INIT_IN.flags2) : 0,
  };
}

/**
 * With `wantsPassthrough` that is taken too, which needs CAP_SYS_ADMIN.
 * @returns undefined: the kernel speaks a newer major version, and asks again when it is told ours.
 * @throws OpError version-unsupported: it is older than what this server speaks.
 */
export function negotiate(offer: Offer, wantsPassthrough: boolean): Features | undefined {
  if (offer.major > FUSE_KERNEL_VERSION) return undefined;
  if (offer.major < FUSE_KERNEL_VERSION || offer.minor < MINOR_VERSION_MIN) {
    throw new OpError('version-unsupported', `speak FUSE ${offer.major}.${offer.minor}`, {
      hint: `a kernel with FUSE ${FUSE_KERNEL_VERSION}.${MINOR_VERSION_MIN} or newer is needed`,
    });
  }
  const minor = Math.min(offer.minor, FUSE_KERNEL_MINOR_VERSION);
  const flags = (offer.flags & FLAGS_WANTED) >>> 0;
  const wanted2 = wantsPassthrough ? FLAGS2_WANTED | INIT_FLAG2.passthrough : FLAGS2_WANTED;
  const flags2 = (offer.flags2 & wanted2) >>> 0;
  const maxReadahead = Math.min(offer.maxReadahead, FUSE_IO_BYTES_MAX);
  return featuresOf({ minor, maxReadahead, flags, flags2 });
}

/** What agreed numbers mean. */
export function featuresOf(
  agreed: Pick<Features, 'minor' | 'maxReadahead' | 'flags' | 'flags2'>,
): Features {
  const { minor, maxReadahead, flags, flags2 } = agreed;
  return {
    ...{ minor, maxReadahead, flags, flags2 },
    hasSetxattrExt: (flags & INIT_FLAG.setxattrExt) !== 0,
    hasResend: (flags2 & INIT_FLAG2.hasResend) !== 0,
    opensNoDirectories: (flags & INIT_FLAG.noOpendirSupport) !== 0,
    hasPassthrough: (flags2 & INIT_FLAG2.passthrough) !== 0,
  };
}

/** `fuse_init_out`; without features, just our version. */
export function initOut(features: Features | undefined): Buffer {
  const out = Buffer.alloc(INIT_OUT.bytes);
  out.writeUInt32LE(FUSE_KERNEL_VERSION, INIT_OUT.major);
  out.writeUInt32LE(features?.minor ?? FUSE_KERNEL_MINOR_VERSION, INIT_OUT.minor);
  if (features === undefined) return out;
  out.writeUInt32LE(features.maxReadahead, INIT_OUT.maxReadahead);
  out.writeUInt32LE(features.flags, INIT_OUT.flags);
  out.writeUInt16LE(FUSE_BACKGROUND_MAX, INIT_OUT.maxBackground);
  out.writeUInt16LE((FUSE_BACKGROUND_MAX * 3) / 4, INIT_OUT.congestionThreshold);
  out.writeUInt32LE(FUSE_IO_BYTES_MAX, INIT_OUT.maxWrite);
  out.writeUInt32LE(TIME_GRANULARITY_NS, INIT_OUT.timeGran);
  out.writeUInt16LE(FUSE_IO_BYTES_MAX / PAGE_BYTES, INIT_OUT.maxPages);
  out.writeUInt32LE(features.flags2, INIT_OUT.flags2);
  if (features.hasPassthrough) out.writeUInt32LE(STACK_DEPTH_MAX, INIT_OUT_MAX_STACK_DEPTH);
  return out;
}
