#!/usr/bin/env node
/**
 * How the command starts: it loads the modules that native/build.mjs has put together, and lies beside them as main.js.
 * With each lies the code that V8 made of it at the build; one that is of another V8 is of no use to it, and it
 * compiles the module itself. The name of a module has a hash of it, so the code beside it is never that of another one.
 */
'use strict';

const { readFileSync } = require('node:fs');
const { createRequire } = require('node:module');
const { join } = require('node:path');
const { Script } = require('node:vm');

const outside = createRequire(__filename);
/** By their names, also those that are being loaded. */
const modules = new Map();
const parameters = 'exports, require, module, __filename, __dirname';

function codeOf(name) {
  try {
    return readFileSync(join(__dirname, `${name}.code`));
  } catch {
    return undefined; // It was not made yet.
  }
}

function load(name) {
  const known = modules.get(name);
  if (known !== undefined) return known.exports;
  const filename = join(__dirname, name);
  const source = readFileSync(filename, 'utf8').replace(/^#!/, '//');
  const options = { filename, cachedData: codeOf(name) };
  const script = new Script(`(function (${parameters}) {${source}\n})`, options);
  const loaded = { exports: {}, script };
  modules.set(name, loaded);
  script.runInThisContext()(loaded.exports, required, loaded, filename, __dirname);
  return loaded.exports;
}

const required = (name) => (name.startsWith('./') ? load(name.slice(2)) : outside(name));

module.exports = { load, modules };
if (require.main === module) load('kitfs.js');
