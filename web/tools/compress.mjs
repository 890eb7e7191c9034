// Stores each built file compressed beside it, once, so that the gateway never compresses anything.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const dist = join(import.meta.dirname, '../dist');
for (const name of readdirSync(dist, { recursive: true })) {
  // The page itself is filled in at each request.
  if (!/\.(js|css|svg|json|txt)$/.test(name)) continue;
  const path = join(dist, name);
  const plain = readFileSync(path);
  if (plain.length < 1024) continue;
  const br = brotliCompressSync(plain, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: plain.length },
  });
  writeFileSync(`${path}.br`, br);
  writeFileSync(`${path}.gz`, gzipSync(plain, { level: 9 }));
}
