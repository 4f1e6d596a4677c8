import { randomBytes } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { S3Client } from '@aws-sdk/client-s3';
import { type ExecaError, execa } from 'execa';
import { KeyRing } from '../../../src/client/index.js';
import { systemClock } from '../../../src/common/clock.js';
import { silentLogger } from '../../../src/common/log.js';
import { AccessKeys, type Right, type RunningS3, startS3 } from '../../../src/s3-lite/index.js';
import { ClientRig } from '../client/rig.js';

/** A gateway over a real MDS and real OSTs in this process, and files for clients that are processes of their own. */
export class S3Rig {
  readonly files = mkdtempSync(join(tmpdir(), 'rawstor-s3-'));
  rig!: ClientRig;
  s3!: RunningS3;
  port = 0;
  private limits: NonNullable<Parameters<typeof startS3>[0]['limits']> = {};
  /** Of encrypted buckets; for the next start of the gateway. */
  keys = new KeyRing([]);
  keyId = '';
  secret = '';

  /** @param tuning of its OSTs. @param osts how many */
  static async start(
    limits: NonNullable<Parameters<typeof startS3>[0]['limits']> = {},
    tuning: Parameters<typeof ClientRig.start>[1] = {},
    osts = 3,
  ): Promise<S3Rig> {
    const made = new S3Rig();
    made.limits = limits;
    made.rig = await ClientRig.start(osts, tuning);
    await made.startGateway();
    ({ keyId: made.keyId, secret: made.secret } = await made.key({ '*': 'admin' }));
    return made;
  }

  async startGateway(): Promise<void> {
    const { rig } = this;
    this.s3 = await startS3({
      cluster: rig.cluster,
      io: rig.io,
      clock: systemClock,
      log: silentLogger,
      listen: [{ host: '127.0.0.1', port: this.port }],
      domain: 's3.test',
      region: 'us-east-1',
      limits: this.limits,
      keys: this.keys,
      layout: { replicas: 2, minReplicas: 1, stripeWidth: 1, failureDomain: 'ost', near: null },
    });
    this.port = this.s3.ports[0]!;
  }

  key(rights: Record<string, Right>): Promise<{ keyId: string; secret: string }> {
    return new AccessKeys(this.s3.store.catalog).create('test', rights, Date.now());
  }

  client(maxAttempts = 3): S3Client {
    const { keyId: accessKeyId, secret: secretAccessKey } = this;
    const credentials = { accessKeyId, secretAccessKey };
    return new S3Client({
      endpoint: this.url,
      region: 'us-east-1',
      credentials,
      forcePathStyle: true,
      maxAttempts,
    });
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** A file of random bytes. @returns its path and content */
  file(name: string, bytes: number): { path: string; content: Buffer } {
    const path = join(this.files, name);
    const content = randomBytes(bytes);
    writeFileSync(path, content);
    return { path, content };
  }

  /** Runs a client. @returns its stdout. @throws with all it said */
  async run(
    command: string,
    args: readonly string[],
    more: { env?: object; stripFinalNewline?: boolean } = {},
  ) {
    const env = {
      AWS_ACCESS_KEY_ID: this.keyId,
      AWS_SECRET_ACCESS_KEY: this.secret,
      AWS_DEFAULT_REGION: 'us-east-1',
      AWS_EC2_METADATA_DISABLED: 'true',
      PATH: '/usr/bin:/bin:/usr/sbin:/sbin',
      HOME: this.files,
      ...more.env,
    };
    try {
      const { stdout } = await execa(command, args, { env, extendEnv: false, timeout: 120_000 });
      return stdout;
    } catch (error) {
      const { shortMessage, stdout, stderr } = error as ExecaError;
      throw new Error(`${shortMessage}\n${stdout}\n${stderr}`);
    }
  }

  async end(): Promise<void> {
    await this.s3.close();
    await this.rig.end();
    await rm(this.files, { recursive: true, force: true });
  }
}

/** The name of the error that a command of the SDK is answered with; '' where it is none. */
export function failureOf(client: S3Client, command: object): Promise<string> {
  return client.send(command as never).then(
    () => '',
    (error: { name: string }) => error.name,
  );
}
