import { Group } from '@mantine/core';
import { Outlet } from '@tanstack/react-router';
import { Brand, SkipLink } from './Layout';
import { Switches } from './Switches';

/** What surrounds the pages before the login. */
export function Door() {
  return (
    <div className="door">
      <SkipLink />
      <Group component="header" justify="space-between" px="md" py="xs">
        <Brand />
        <Group gap={4}>
          <Switches />
        </Group>
      </Group>
      <main id="main" tabIndex={-1}>
        <Outlet />
      </main>
    </div>
  );
}
