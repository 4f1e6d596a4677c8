import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import {
  canonicalAddress,
  clusterConfigSchema,
  parseClusterConfig,
  resolveLocation,
} from '../../../src/common/config.js';
import { RawstorError } from '../../../src/common/errors.js';
import { editDistance, nearestName } from '../../../src/common/nearest.js';

const WHOLE = `
cluster-id = "c"
mgs = ["10.0.0.1:7770"]
mds = ["tcp://10.0.0.1:7771", "unix:/run/mds.sock"]

[gateway]
nbd = ["unix:/run/nbd.sock"]
control = "/run/control.sock"
status-url = "http://10.0.0.1/"

[serve-mgs]
dir = "/mgs"
listen = ["[::1]:7770"]
http-listen = "0.0.0.0:8080"

[serve-ost]
dir = "/ost"
labels = { host = "a", rack = "r" }
`;

function failure(text: string): RawstorError {
  try {
    parseClusterConfig(text, '/f.toml');
  } catch (error) {
    expect(error).toBeInstanceOf(RawstorError);
    return error as RawstorError;
  }
  throw new Error('it was taken');
}

describe('the configuration file', () => {
  it('is read whole', () => {
    const config = parseClusterConfig(WHOLE, 'f');
    expect(config.clusterId).toBe('c');
    expect(config.mgs).toEqual(['tcp://10.0.0.1:7770']);
    expect(config.mds).toEqual(['tcp://10.0.0.1:7771', 'unix:/run/mds.sock']);
    expect(config.gateway).toEqual({
      nbd: ['unix:/run/nbd.sock'],
      control: '/run/control.sock',
      statusUrl: 'http://10.0.0.1/',
    });
    expect(config.serve.mgs).toEqual({
      dir: '/mgs',
      listen: ['tcp://[::1]:7770'],
      'http-listen': 'tcp://0.0.0.0:8080',
    });
    expect(config.serve.ost.labels).toEqual({ host: 'a', rack: 'r' });
    expect(config.serve.nbd).toEqual({});
  });

  it.each([
    ['mds = ["h:1"]\nmdss = 1\n', '/f.toml:2', "unknown key 'mdss'", "did you mean 'mds'?"],
    [
      'mds = ["h:1"]\n\n[serve-ost]\nlable = {}\n',
      '/f.toml:4',
      "'serve-ost.lable'",
      "did you mean 'labels'?",
    ],
    ['[serve_ost]\n', '/f.toml:1', "'serve_ost'", "did you mean 'serve-ost'?"],
    ['[gateway]\nxyz = 1\n', '/f.toml:2', "'gateway.xyz'", 'known here: nbd, control, status-url'],
    ['mds = ["h:1"\n', '/f.toml:', 'no valid TOML', 'mend the file'],
    ['mds = "h:1"\n', '/f.toml:1', "'mds'", ''],
    ['a = 1\nmds = ["h:1"]', '/f.toml:1', "unknown key 'a'", ''],
    ['\n\nmds = ["h:99999"]\n', '/f.toml:3', "'h:99999' is not tcp://HOST:PORT", ''],
    ['[serve-ost]\ndir = "d"\nlisten = ["h"]\n', '/f.toml:3', "'serve-ost.listen'", ''],
    ['[serve-ost.labels]\nhost = 3\n', '/f.toml:2', "'serve-ost.labels.host'", ''],
  ])('refuses %j', (text, where, message, hint) => {
    const error = failure(text);
    expect(error.code).toBe('CONFIG');
    expect(error.exitCode).toBe(78);
    expect(error.where).toContain(where);
    expect(error.message).toContain(message);
    expect(error.hint ?? '').toContain(hint);
  });

  it('cut off anywhere is read or refused by name and line, never worse', () => {
    for (let length = 0; length < WHOLE.length; length++) {
      try {
        parseClusterConfig(WHOLE.slice(0, length), '/f.toml');
      } catch (error) {
        expect(error).toMatchObject({ code: 'CONFIG' });
        expect((error as RawstorError).where).toMatch(/^\/f\.toml:\d+$/);
      }
    }
  });

  it('has every key described, and in docs/operations.md', () => {
    const manual = readFileSync(new URL('../../../docs/operations.md', import.meta.url), 'utf8');
    const visit = (schema: unknown, trail: string): void => {
      const inner = schema instanceof z.ZodOptional ? schema.unwrap() : schema;
      if (inner instanceof z.ZodObject) {
        for (const [key, value] of Object.entries(inner.shape)) {
          expect((value as z.ZodType).description, `${trail}${key}`).toBeTruthy();
          expect(manual, `${trail}${key}`).toContain(`\`${key}\``);
          visit(value, `${trail}${key}.`);
        }
      }
    };
    visit(clusterConfigSchema, '');
  });
});

describe('addresses', () => {
  it.each([
    ['h:1', 'tcp://h:1'],
    ['tcp://h:1', 'tcp://h:1'],
    ['[::1]:80', 'tcp://[::1]:80'],
    ['10.0.0.1:0080', 'tcp://10.0.0.1:80'],
    ['unix:/a b', 'unix:/a b'],
    ['unix:a', null],
    ['unix:/', null],
    ['h', null],
    ['h:', null],
    ['h:65536', null],
    ['http://h:1', null],
    ['::1:80', null],
    ['', null],
  ])('%j is %j', (text, written) => {
    expect(canonicalAddress(text)).toBe(written);
  });

  it('stay as they are once written', () => {
    fc.assert(
      fc.property(fc.domain(), fc.integer({ min: 0, max: 65535 }), (host, port) => {
        const written = canonicalAddress(`${host}:${port}`)!;
        expect(canonicalAddress(written)).toBe(written);
      }),
    );
  });
});

describe('the location', () => {
  let root: string;
  const file = (name: string, mds: string) => {
    mkdirSync(join(root, name, '..'), { recursive: true });
    writeFileSync(join(root, name), `mds = ["${mds}:1"]\n`);
  };
  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), 'rawstor-location-'));
    file('here/.rawstor/cluster.toml', 'dir');
    file('home/.config/rawstor/cluster.toml', 'home');
    file('xdg/rawstor/cluster.toml', 'xdg');
    file('given.toml', 'given');
    file('env.toml', 'env');
    mkdirSync(join(root, 'empty'));
    writeFileSync(join(root, 'nobody.toml'), '');
  });
  afterAll(() => rmSync(root, { recursive: true }));

  const mdsOf = (text?: string, env: Record<string, string> = {}, cwd = 'empty', config?: string) => {
    const place = resolveLocation(text, { HOME: join(root, 'none'), ...env }, join(root, cwd), config);
    return place.kind === 'config' ? place.config.mds[0] : place.addresses.join(' ');
  };

  it('is looked for in order', () => {
    const env = { RAWSTOR_LOCATION: join(root, 'env.toml'), HOME: join(root, 'home') };
    const { RAWSTOR_LOCATION: _, ...home } = env;
    expect(mdsOf('../given.toml', env, 'here', '../env.toml')).toBe('tcp://given:1');
    expect(mdsOf(undefined, env, 'here', '../given.toml')).toBe('tcp://given:1');
    expect(mdsOf(undefined, env, 'here')).toBe('tcp://env:1');
    expect(mdsOf(undefined, home, 'here')).toBe('tcp://dir:1');
    expect(mdsOf(undefined, home)).toBe('tcp://home:1');
    expect(mdsOf(undefined, { ...home, XDG_CONFIG_HOME: join(root, 'xdg') })).toBe('tcp://xdg:1');
  });

  it('is addresses, a file or a directory', () => {
    expect(mdsOf('a:1, tcp://b:2,unix:/c')).toBe('tcp://a:1 tcp://b:2 unix:/c');
    expect(mdsOf('../here')).toBe('tcp://dir:1');
    expect(mdsOf('../here/.rawstor')).toBe('tcp://dir:1');
  });

  it.each([
    ['somewhere', 'USAGE'],
    ['../missing.toml', 'NOT_FOUND'],
    ['.', 'NOT_FOUND'],
    ['../nobody.toml', 'CONFIG'],
    [undefined, 'CONFIG'],
  ])('%j is refused', (text, code) => {
    expect(() => mdsOf(text)).toThrow(expect.objectContaining({ code }));
  });
});

describe('the nearest name', () => {
  it('is found or not', () => {
    expect(nearestName('relpicas', ['replicas', 'osts'])).toBe('replicas');
    expect(nearestName('MDS', ['mds', 'mgs'])).toBe('mds');
    expect(nearestName('volume', ['mds', 'mgs'])).toBeUndefined();
  });

  it('counts edits as a distance', () => {
    const word = fc.string({ maxLength: 8 });
    fc.assert(
      fc.property(word, word, (a, b) => {
        expect(editDistance(a, b)).toBe(editDistance(b, a));
        expect(editDistance(a, b) === 0).toBe(a === b);
        expect(editDistance(a, b)).toBeLessThanOrEqual(Math.max(a.length, b.length));
      }),
    );
    expect(editDistance('abcd', 'abdc')).toBe(1);
    expect(editDistance('kitten', 'sitting')).toBe(3);
  });
});
