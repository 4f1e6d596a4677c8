import { RawstorError } from '../common/errors.js';
import { DescriptorSocket, EventFd } from '../io/index.js';
import { configSpace, deviceFeatures, WRITEBACK_AT } from './config-space.js';
import { Feature, hasBit, maskOf, ProtocolFeature, Request, VHOST_LIMITS } from './constants.js';
import { DirtyLog } from './dirty-log.js';
import { InflightArea } from './inflight-area.js';
import type { Message } from './message-reader.js';
import * as codec from './messages.js';
import type { Session } from './session.js';
import type { Vring } from './vring.js';

export interface Reply {
  readonly payload: Buffer;
  readonly fds?: number[];
}

type Handler = (session: Session, message: Message) => Reply | null | Promise<Reply | null>;

const PROTOCOL_FEATURES = maskOf(Object.values(ProtocolFeature));
/** In SET_VRING_KICK, _CALL, _ERR: no descriptor comes along. */
const NO_FD = 1n << 8n;

/** @throws RawstorError PROTOCOL, INVALID, NOT_SUPPORTED, ... */
export async function answerTo(session: Session, message: Message): Promise<Reply | null> {
  const handler = HANDLERS.get(message.header.request);
  if (handler === undefined) throw new RawstorError('NOT_SUPPORTED', `no request ${message.header.request}`);
  if (MAPS.has(message.header.request)) {
    await session.passed.check(message.fds);
    if (session.ending) throw new RawstorError('CONNECTION_LOST', 'the front-end is gone');
  }
  return await handler(session, message);
}

/** Of which the descriptors are mapped. */
const MAPS: ReadonlySet<number> = new Set([
  Request.SET_MEM_TABLE,
  Request.ADD_MEM_REG,
  Request.SET_LOG_BASE,
  Request.SET_INFLIGHT_FD,
]);

const number = (value: bigint): Reply => ({ payload: codec.encodeU64(value) });

const HANDLERS = new Map<number, Handler>([
  [Request.GET_FEATURES, (session) => number(deviceFeatures(session.device.readOnly))],
  [Request.SET_FEATURES, setFeatures],
  [Request.SET_OWNER, () => null],
  [Request.RESET_OWNER, reset],
  [Request.RESET_DEVICE, reset],
  [Request.GET_PROTOCOL_FEATURES, () => number(PROTOCOL_FEATURES)],
  [Request.SET_PROTOCOL_FEATURES, setProtocolFeatures],
  [Request.GET_QUEUE_NUM, (session) => number(BigInt(session.queues))],
  [Request.GET_MAX_MEM_SLOTS, () => number(BigInt(VHOST_LIMITS.memorySlots))],
  [Request.SET_MEM_TABLE, setMemoryTable],
  [Request.ADD_MEM_REG, addRegion],
  [Request.REM_MEM_REG, removeRegion],
  [Request.SET_LOG_BASE, setLog],
  [Request.SET_LOG_FD, () => null],
  [Request.SET_VRING_NUM, setSize],
  [Request.SET_VRING_ADDR, setAddresses],
  [Request.SET_VRING_BASE, setBase],
  [Request.GET_VRING_BASE, getBase],
  [Request.SET_VRING_KICK, setKick],
  [Request.SET_VRING_CALL, (session, message) => setSignal(session, message, 'call')],
  [Request.SET_VRING_ERR, (session, message) => setSignal(session, message, 'error')],
  [Request.SET_VRING_ENABLE, setEnabled],
  [Request.SET_BACKEND_REQ_FD, setBackend],
  [Request.GET_CONFIG, getConfig],
  [Request.SET_CONFIG, setConfig],
  [Request.GET_INFLIGHT_FD, getInflight],
  [Request.SET_INFLIGHT_FD, setInflight],
  [Request.SET_STATUS, setStatus],
  [Request.GET_STATUS, (session) => number(session.status)],
]);

function setFeatures(session: Session, { payload }: Message): null {
  const features = decoded(codec.decodeU64(payload));
  if ((features & ~deviceFeatures(session.device.readOnly)) !== 0n) {
    throw new RawstorError('PROTOCOL', 'features that were not offered');
  }
  session.features = features;
  // Without protocol features there is no SET_VRING_ENABLE.
  if (!hasBit(features, Feature.PROTOCOL_FEATURES)) for (const ring of session.rings) ring.enabled = true;
  return null;
}

function setProtocolFeatures(session: Session, { payload }: Message): null {
  const features = decoded(codec.decodeU64(payload));
  if ((features & ~PROTOCOL_FEATURES) !== 0n) {
    throw new RawstorError('PROTOCOL', 'protocol features that were not offered');
  }
  session.protocolFeatures = features;
  return null;
}

async function reset(session: Session): Promise<null> {
  await session.reset();
  return null;
}

async function setMemoryTable(session: Session, { payload, fds }: Message): Promise<null> {
  const regions = decoded(codec.decodeMemoryTable(payload));
  if (regions.length !== fds.length) {
    throw new RawstorError('PROTOCOL', `${fds.length} descriptors for ${regions.length} memory regions`);
  }
  await session.quietly(() => {
    session.memory.clear();
    for (const region of regions) session.memory.add(region, fds.shift()!);
  });
  return null;
}

function addRegion(session: Session, message: Message): null {
  session.memory.add(decoded(codec.decodeRegion(message.payload)), takeFd(message));
  return null;
}

async function removeRegion(session: Session, { payload }: Message): Promise<null> {
  const region = decoded(codec.decodeRegion(payload));
  let found = false;
  await session.quietly(() => {
    found = session.memory.remove(region);
  });
  if (!found) throw new RawstorError('INVALID', 'there is no such memory region');
  return null;
}

/** The front-end waits for the answer, whether or not it has asked for acknowledgements. */
function setLog(session: Session, message: Message): Reply {
  session.setDirtyLog(new DirtyLog(decoded(codec.decodeLog(message.payload)), takeFd(message)));
  return number(0n);
}

function setSize(session: Session, { payload }: Message): null {
  const { index, number: size } = decoded(codec.decodeVringState(payload));
  stopped(session, index).size = size;
  return null;
}

function setBase(session: Session, { payload }: Message): null {
  const { index, number: base } = decoded(codec.decodeVringState(payload));
  stopped(session, index).base = base;
  return null;
}

/** Of a ring that runs only whether it is logged may change. */
function setAddresses(session: Session, { payload }: Message): null {
  const addresses = decoded(codec.decodeVringAddresses(payload));
  const ring = ringOf(session, addresses.index);
  const before = ring.addresses;
  const { descriptors, used, available } = addresses;
  const same = before?.descriptors === descriptors && before.used === used && before.available === available;
  if (ring.started && !same) throw new RawstorError('PROTOCOL', 'other addresses for a ring that is started');
  ring.addresses = addresses;
  return null;
}

async function getBase(session: Session, { payload }: Message): Promise<Reply> {
  const { index } = decoded(codec.decodeVringState(payload));
  // One that has ended meanwhile sends no reply.
  const base = await ringOf(session, index).stop(() => !session.ending);
  return { payload: codec.encodeVringState({ index, number: base }) };
}

function setKick(session: Session, message: Message): null {
  const value = decoded(codec.decodeU64(message.payload));
  const ring = ringOf(session, Number(value & 0xffn));
  if ((value & NO_FD) !== 0n) throw new RawstorError('NOT_SUPPORTED', 'a ring without a kick descriptor');
  ring.start(takeEventFd(message));
  return null;
}

function setSignal(session: Session, message: Message, which: 'call' | 'error'): null {
  const value = decoded(codec.decodeU64(message.payload));
  const ring = ringOf(session, Number(value & 0xffn));
  const fd = (value & NO_FD) !== 0n ? null : takeEventFd(message);
  which === 'call' ? ring.setCall(fd) : ring.setError(fd);
  return null;
}

function setEnabled(session: Session, { payload }: Message): null {
  const { index, number: enabled } = decoded(codec.decodeVringState(payload));
  const ring = ringOf(session, index);
  ring.enabled = enabled !== 0;
  ring.run();
  return null;
}

function setBackend(session: Session, message: Message): null {
  const [fd] = message.fds;
  if (fd !== undefined && !DescriptorSocket.isOne(fd)) {
    throw new RawstorError('INVALID', 'a channel to the front-end that is no socket');
  }
  session.setBackendSocket(takeFd(message));
  return null;
}

/** A range that is none is answered with an empty payload, as the protocol has it. */
async function getConfig(session: Session, { payload }: Message): Promise<Reply> {
  const range = codec.decodeConfig(payload);
  if (range === null) return { payload: Buffer.alloc(0) };
  await session.device.refresh?.();
  // What lies behind is of features that are not offered: zeros.
  const all = Buffer.alloc(codec.CONFIG_BYTES_MAX);
  configSpace(session.device, session.writeback, session.queues).copy(all);
  const { offset } = range;
  return {
    payload: codec.encodeConfig({ offset, bytes: all.subarray(offset, offset + range.bytes.length) }),
  };
}

function setConfig(session: Session, { payload }: Message): null {
  const { offset, bytes } = decoded(codec.decodeConfig(payload));
  if (offset !== WRITEBACK_AT || bytes.length !== 1 || bytes[0]! > 1) {
    throw new RawstorError('INVALID', 'only `writeback` of the configuration may be written, 0 or 1');
  }
  session.setWriteback(bytes[0] === 1);
  session.writebackKnown = true;
  return null;
}

function getInflight(session: Session, { payload }: Message): Reply {
  const { queues, queueSize } = decoded(codec.decodeInflight(payload));
  const sound =
    queues > 0 && queues <= session.queues && queueSize > 0 && queueSize <= VHOST_LIMITS.queueSize;
  if (!sound) throw new RawstorError('INVALID', `in-flight tracking of ${queues} queues of ${queueSize}`);
  checkAllStopped(session);
  const area = InflightArea.create(queues, queueSize);
  session.setInflight(area);
  return { payload: codec.encodeInflight(area.description), fds: [area.fd] };
}

function setInflight(session: Session, message: Message): null {
  checkAllStopped(session);
  session.setInflight(new InflightArea(decoded(codec.decodeInflight(message.payload)), takeFd(message)));
  return null;
}

/** A ring keeps its requests in the area that there was when it was started. */
function checkAllStopped(session: Session): void {
  if (!session.rings.some((ring) => ring.started)) return;
  throw new RawstorError('PROTOCOL', 'in-flight tracking changed while rings are started');
}

async function setStatus(session: Session, { payload }: Message): Promise<null> {
  const status = decoded(codec.decodeU64(payload));
  if (status === 0n) await session.reset();
  session.status = status;
  return null;
}

function ringOf(session: Session, index: number): Vring {
  const ring = session.rings[index];
  if (ring === undefined) throw new RawstorError('PROTOCOL', `queue ${index} of ${session.queues}`);
  return ring;
}

function stopped(session: Session, index: number): Vring {
  const ring = ringOf(session, index);
  if (ring.started) throw new RawstorError('PROTOCOL', 'settings of a ring that is started');
  return ring;
}

function takeFd({ fds }: Message): number {
  const fd = fds.shift();
  if (fd === undefined) throw new RawstorError('PROTOCOL', 'a message without its descriptor');
  return fd;
}

function takeEventFd(message: Message): number {
  const [fd] = message.fds;
  if (fd === undefined || EventFd.isOne(fd)) return takeFd(message);
  throw new RawstorError('INVALID', 'a descriptor to signal with that is no eventfd');
}

function decoded<T>(value: T | null): T {
  if (value === null) throw new RawstorError('PROTOCOL', 'a message whose payload is none');
  return value;
}
