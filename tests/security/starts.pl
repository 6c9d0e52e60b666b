# A service's user at work on the children that are about to become its programs.
#
#   perl -e TEXT KIND LOG HOLD SECRET PTRACE SETSCHEDULER SETAFFINITY FOLDER [FILE...]
#
# LOG has the latest "TRIES HITS NOTE|FAULTS". A try is a child that was attacked, or a lease that was taken. It is a hit
# when the attack had its effect before the program was executed: the child has got no further for HOLD seconds, the
# lease is asked back, or a tracer was refused in the last steps. A fault is what the user must not get.

use strict;
use Time::HiRes qw(time sleep);
my ($kind, $log, $hold, $secret, $sys_ptrace, $sys_setscheduler, $sys_setaffinity, $folder, @files) = @ARGV;
my ($tries, $hits, $note, %faults) = (0, 0, '');

open my $out, '>', $log or die "$log: $!";
sub report {
    my $line = sprintf '%012d %012d %s|%s', $tries, $hits, $note, join '; ', sort keys %faults;
    sysseek $out, 0, 0;
    syswrite $out, sprintf("%-500.500s\n", $line);
}

# The name and state of a process. The name is the daemon's until the program is executed.
sub look {
    open my $stat, '<', "/proc/$_[0]/stat" or return ('', '');
    my $text = <$stat> // '';
    return $text =~ /\((.*)\) (\S)/ ? ($1, $2) : ('', '');
}

sub is_on_its_way {
    my ($name, $state) = look($_[0]);
    return $name =~ /^go-overlay/ && $state !~ /[ZX]/;
}

# The processes that began since the last call.
open my $load, '<', '/proc/loadavg' or die $!;
sub newest { sysseek $load, 0, 0; sysread $load, my $text, 256; return $text =~ /(\d+)$/ ? $1 : 0 }
my $seen = newest();
sub new_ones {
    my $newest = newest();
    my @new = $newest < $seen ? (2 .. $newest) : ($seen + 1 .. $newest);
    $seen = $newest;
    return @new;
}

# Attacks each child on its way again and again, until the attack is over for it, for that many seconds, or until it was
# over for enough. For the children of other users it never is.
sub attack_new_ones {
    my ($attack, $seconds, $enough) = @_;
    my ($end, $over, %on_the_way) = (time + $seconds, 0);
    while ($over < $enough && time < $end) {
        for (new_ones()) { $on_the_way{$_} = time + 0.2 if is_on_its_way($_) }
        for my $pid (keys %on_the_way) {
            my $is_over = $attack->(0 + $pid);
            $over++ if $is_over;
            delete $on_the_way{$pid} if $is_over || time > $on_the_way{$pid};
        }
    }
}

sub is_gone { return $!{ESRCH} }

# Catches children, holds them, and counts those that got no further.
sub rounds {
    my ($catch, $wait, $is_held, $release) = @_;
    while (1) {
        my @caught;
        my $attack = sub {
            $catch->($_[0]) or return is_gone();
            push @caught, $_[0];
        };
        attack_new_ones($attack, 0.1, @files / 2);
        $wait->();
        $tries += @caught;
        $hits += grep { $is_held->($_) } @caught;
        $release->($_) for @caught;
        report();
    }
}

sub stop {
    rounds(
        sub { kill 'STOP', $_[0] },
        sub { sleep $hold },
        sub { my ($name, $state) = look($_[0]); $name =~ /^go-overlay/ && $state eq 'T' },
        sub { kill 'CONT', $_[0] },
    );
}

# SCHED_IDLE (5), on the processor that this loop keeps busy. The policy cannot be undone; SIGKILL ends the wait.
sub starve {
    my ($priority, $first) = (pack('i', 0), pack('Q', 1));
    my $keep_on_first = sub { syscall($sys_setaffinity, $_[0], 8, $first) == 0 };
    $keep_on_first->(0) or die "cannot stay on one processor: $!";
    rounds(
        sub { syscall($sys_setscheduler, $_[0], 5, $priority) == 0 && $keep_on_first->($_[0]) },
        sub { my $end = time + $hold; 1 while time < $end },
        \&is_on_its_way,
        sub { kill 'KILL', $_[0] },
    );
}

# With a write lease (fcntl(2)) on a file, who opens or executes it waits until the lease is returned.
sub lease {
    my ($set, $get, $write) = (1024, 1025, 1);
    $SIG{IO} = 'IGNORE';
    while (1) {
        my @leases;
        for my $file (@files) {
            open my $handle, '<', $file or next;
            fcntl($handle, $set, $write) and push @leases, $handle;
        }
        sleep $hold + 0.03;
        $tries += @leases;
        # Of one that is asked back the kernel names what is to become of it.
        $hits += grep { fcntl($_, $get, 0) != $write } @leases;
        @leases = ();
        report();
        sleep 0.005;
    }
}

# A core that holds what only the daemon knows.
sub look_for_cores {
    for my $core (glob "$folder/core* $folder/end/core*") {
        open my $file, '<', $core or next;
        local $/;
        $faults{'the daemon\'s memory was dumped'} = 1 if index(<$file>, $secret) >= 0;
        unlink $core;
    }
}

# A child that is traced before its execution stops at that (PTRACE_O_TRACEEXEC), and so shows that it was.
sub trace {
    my ($seize, $cont, $trace_exec, $at_exec, $all_that_wait) = (0x4206, 7, 0x10, 5 | 4 << 8, 0x40000001);
    my ($refused, $dumps, %tried) = (0, 0);
    my $attack = sub {
        my $pid = shift;
        my $is_ours = kill 0, $pid;
        for (1 .. 20) {
            syscall($sys_ptrace, $seize, $pid, 0, $trace_exec) == 0 and return 1;
            $!{EPERM} or return is_gone();
        }
        if (open my $maps, '<', "/proc/$pid/maps") {
            local $/;
            $faults{'the daemon\'s memory was readable'} = 1 if (<$maps> // '') =~ m{/go-overlay$}m;
        }
        if ($is_ours && is_on_its_way($pid)) {
            $refused += 20;
            $tried{$pid} = 1;
        }
        # A signal that dumps core ends every second one.
        $dumps += kill 'ABRT', $pid if $pid % 2;
        return 0;
    };
    while (1) {
        attack_new_ones($attack, 0.05, 1000);
        while ((my $pid = waitpid -1, $all_that_wait) > 0) {
            $faults{'a child was traced before its execution'} = 1 if ${^CHILD_STATUS_NATIVE} >> 8 == $at_exec;
            syscall($sys_ptrace, $cont, $pid, 0, 0);
        }
        look_for_cores();
        ($tries, $hits) = ($tries + keys %tried, $hits + keys %tried);
        %tried = ();
        $note = "$refused calls refused (EPERM), $dumps times SIGABRT";
        report();
    }
}

{ stop => \&stop, starve => \&starve, lease => \&lease, trace => \&trace }->{$kind}->();
